//! The HR scenarios and their fields, as the connector documents them.
//!
//! Names of fields are the documentation's defaults: customers map their own column names to them in the portal, and
//! give those names under the sink's `columns`. See Microsoft's page "Set up a connector to import HR data".

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of HR fact that the connector takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// Who resigned, when, and the last day.
    EmployeeResignation,
    /// A change of job level.
    JobLevelChange,
    /// The result of a performance review.
    PerformanceReview,
    /// A performance improvement plan.
    PerformanceImprovementPlan,
    /// Who a person is and where.
    EmployeeProfile,
}

/// What a field holds, which decides how its values are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FieldKind {
    /// A user principal name or e-mail address; see [`upn`](super::upn).
    Upn,
    /// A date with time and offset; see [`dates`](super::dates).
    DateTime,
    /// Text; see [`text`](super::text).
    Text {
        /// The documented limit, where there is one.
        max_chars: Option<usize>,
    },
}

/// One column of a scenario.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// The documented name: what users write under `fields`.
    pub(crate) name: &'static str,
    pub(crate) kind: FieldKind,
    pub(crate) required: bool,
    /// Other spellings in Microsoft's pages and samples. For suggestions only, never taken for the name.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) summary: &'static str,
}

const fn field(name: &'static str, kind: FieldKind, required: bool, summary: &'static str) -> Field {
    Field {
        name,
        kind,
        required,
        aliases: &[],
        summary,
    }
}

const fn date(name: &'static str, summary: &'static str) -> Field {
    field(name, FieldKind::DateTime, true, summary)
}

const fn text(name: &'static str, summary: &'static str) -> Field {
    field(name, FieldKind::Text { max_chars: None }, false, summary)
}

impl Field {
    const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn limit(mut self, max_chars: usize) -> Self {
        self.kind = FieldKind::Text {
            max_chars: Some(max_chars),
        };
        self
    }
}

const EMAIL: Field = field(
    "EmailAddress",
    FieldKind::Upn,
    true,
    "user principal name (UPN) of the person in Microsoft Entra ID",
)
.also(&["UserPrincipalName"]);

const RATING: Field = text("Rating", "the rating given, in the company's own words").limit(25);

/// What the documentation says about a scenario.
pub(crate) struct Facts {
    /// The name in pipeline files, reports and the ledger.
    id: &'static str,
    pub(crate) title: &'static str,
    /// The value of the scenario column (`HRScenario`) in files of several scenarios. Customers may have mapped another
    /// one in the portal.
    pub(crate) identifier: &'static str,
    pub(crate) policy_templates: &'static [&'static str],
    fields: &'static [Field],
}

const RISKY_USERS: &[&str] = &[
    "data leaks by risky users",
    "security policy violations by risky users",
];

static EMPLOYEE_RESIGNATION: Facts = Facts {
    id: "employee_resignation",
    title: "employee resignation",
    identifier: "Resignation",
    policy_templates: &[
        "data theft by departing users",
        "security policy violations by departing users",
    ],
    fields: &[
        EMAIL,
        date("ResignationDate", "when notice was given").also(&["TerminationDate"]),
        date("LastWorkingDate", "the last day of work"),
    ],
};

static JOB_LEVEL_CHANGE: Facts = Facts {
    id: "job_level_change",
    title: "job level change",
    identifier: "Job level change",
    policy_templates: RISKY_USERS,
    fields: &[
        EMAIL,
        date("EffectiveDate", "when the change takes effect"),
        text("Remarks", "what was said about the change").limit(200),
        text("OldLevel", "job level before, in the company's own words"),
        text("NewLevel", "job level after, in the company's own words"),
    ],
};

static PERFORMANCE_REVIEW: Facts = Facts {
    id: "performance_review",
    title: "performance review",
    identifier: "Performance review",
    policy_templates: RISKY_USERS,
    fields: &[
        EMAIL,
        date("EffectiveDate", "when the review took effect"),
        text("Remarks", "what was said in the review").limit(200),
        RATING,
    ],
};

static PERFORMANCE_IMPROVEMENT_PLAN: Facts = Facts {
    id: "performance_improvement_plan",
    title: "performance improvement plan",
    identifier: "Performance improvement plan",
    policy_templates: RISKY_USERS,
    fields: &[
        EMAIL,
        date("EffectiveDate", "when the plan took effect"),
        text("Remarks", "what was said about the plan")
            .limit(200)
            .also(&["ImprovementRemarks"]),
        RATING.also(&["PerformanceRating"]),
    ],
};

static EMPLOYEE_PROFILE: Facts = Facts {
    id: "employee_profile",
    title: "employee profile",
    identifier: "Employee profile",
    policy_templates: &["health record misuse"],
    fields: &[
        EMAIL,
        text("EmployeeFirstName", "first name").required(),
        text("EmployeeLastName", "last name").required(),
        text("EmployeeAddressLine1", "home address, first line")
            .required()
            .also(&["EmployeeAddLine1"]),
        text("EmployeeAddressLine2", "home address, second line").also(&["EmployeeAddLine2"]),
        text("EmployeeCity", "city of the home address"),
        text("EmployeeState", "state of the home address"),
        text(
            "EmployeeZipCode",
            "postal code of the home address; leading zeros matter",
        )
        .required(),
        text("EmployeeCountry", "country of the home address"),
        text("EmployeeDepartment", "department").also(&["EmployeeDept"]),
        text("EmployeeType", "kind of employment"),
        text("EmployeeRole", "role"),
    ],
};

impl Scenario {
    /// All, in the order of Microsoft's page.
    pub(crate) const ALL: [Self; 5] = [
        Self::EmployeeResignation,
        Self::JobLevelChange,
        Self::PerformanceReview,
        Self::PerformanceImprovementPlan,
        Self::EmployeeProfile,
    ];

    pub(crate) fn facts(self) -> &'static Facts {
        match self {
            Self::EmployeeResignation => &EMPLOYEE_RESIGNATION,
            Self::JobLevelChange => &JOB_LEVEL_CHANGE,
            Self::PerformanceReview => &PERFORMANCE_REVIEW,
            Self::PerformanceImprovementPlan => &PERFORMANCE_IMPROVEMENT_PLAN,
            Self::EmployeeProfile => &EMPLOYEE_PROFILE,
        }
    }

    /// The name in pipeline files, reports and the ledger, such as `employee_resignation`.
    pub(crate) fn id(self) -> &'static str {
        self.facts().id
    }

    /// The scenario with this [`id`](Self::id).
    pub(crate) fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.id() == id)
    }

    /// The columns, in the order in which they are sent.
    pub(crate) fn fields(self) -> &'static [Field] {
        self.facts().fields
    }

    pub(crate) fn field(self, name: &str) -> Option<&'static Field> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// The field that a wrong `name` most likely means: its name or one of its aliases, compared case-insensitively.
    pub(crate) fn field_meant_by(self, name: &str) -> Option<&'static Field> {
        self.fields().iter().find(|field| {
            std::iter::once(&field.name)
                .chain(field.aliases)
                .any(|known| known.eq_ignore_ascii_case(name))
        })
    }

    /// Whether it has a date, so that a time zone must be known.
    pub(crate) fn has_dates(self) -> bool {
        self.fields()
            .iter()
            .any(|field| field.kind == FieldKind::DateTime)
    }
}

/// The [`id`](Scenario::id).
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}
