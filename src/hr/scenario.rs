//! The HR scenarios and their fields, as the connector documents them.
//!
//! Names of fields are the documentation's defaults: customers map their own column names to them in the portal, and
//! give those names under the sink's `columns`. See Microsoft's page "Set up a connector to import HR data".

use std::fmt;

/// A kind of HR fact that the connector takes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
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
pub enum FieldKind {
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
pub struct Field {
    /// The documented name: what users write under `fields`.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
    /// Whether every row must have a value.
    pub required: bool,
    /// Other spellings in Microsoft's pages and samples. For suggestions only, never taken for the name.
    pub aliases: &'static [&'static str],
    /// One line: what it means.
    pub summary: &'static str,
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

const RESIGNATION: &[Field] = &[
    EMAIL,
    date("ResignationDate", "when notice was given").also(&["TerminationDate"]),
    date("LastWorkingDate", "the last day of work"),
];

const LEVEL_CHANGE: &[Field] = &[
    EMAIL,
    date("EffectiveDate", "when the change takes effect"),
    text("Remarks", "what was said about the change").limit(200),
    text("OldLevel", "job level before, in the company's own words"),
    text("NewLevel", "job level after, in the company's own words"),
];

const REVIEW: &[Field] = &[
    EMAIL,
    date("EffectiveDate", "when the review took effect"),
    text("Remarks", "what was said in the review").limit(200),
    RATING,
];

const IMPROVEMENT_PLAN: &[Field] = &[
    EMAIL,
    date("EffectiveDate", "when the plan took effect"),
    text("Remarks", "what was said about the plan")
        .limit(200)
        .also(&["ImprovementRemarks"]),
    RATING.also(&["PerformanceRating"]),
];

const RATING: Field = text("Rating", "the rating given, in the company's own words").limit(25);

const PROFILE: &[Field] = &[
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
];

impl Scenario {
    /// All, in the order of Microsoft's page.
    pub const ALL: [Self; 5] = [
        Self::EmployeeResignation,
        Self::JobLevelChange,
        Self::PerformanceReview,
        Self::PerformanceImprovementPlan,
        Self::EmployeeProfile,
    ];

    /// The name in pipeline files, reports and the ledger, such as `employee_resignation`.
    pub fn id(self) -> &'static str {
        match self {
            Self::EmployeeResignation => "employee_resignation",
            Self::JobLevelChange => "job_level_change",
            Self::PerformanceReview => "performance_review",
            Self::PerformanceImprovementPlan => "performance_improvement_plan",
            Self::EmployeeProfile => "employee_profile",
        }
    }

    /// The scenario with this [`id`](Self::id).
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.id() == id)
    }

    /// The name for a person, such as `employee resignation`.
    pub fn title(self) -> &'static str {
        match self {
            Self::EmployeeResignation => "employee resignation",
            Self::JobLevelChange => "job level change",
            Self::PerformanceReview => "performance review",
            Self::PerformanceImprovementPlan => "performance improvement plan",
            Self::EmployeeProfile => "employee profile",
        }
    }

    /// The documented value of the scenario column (`HRScenario`) in files of several scenarios. Customers may have
    /// mapped another one in the portal.
    pub fn documented_identifier(self) -> &'static str {
        match self {
            Self::EmployeeResignation => "Resignation",
            Self::JobLevelChange => "Job level change",
            Self::PerformanceReview => "Performance review",
            Self::PerformanceImprovementPlan => "Performance improvement plan",
            Self::EmployeeProfile => "Employee profile",
        }
    }

    /// The columns, in the order in which they are sent.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Self::EmployeeResignation => RESIGNATION,
            Self::JobLevelChange => LEVEL_CHANGE,
            Self::PerformanceReview => REVIEW,
            Self::PerformanceImprovementPlan => IMPROVEMENT_PLAN,
            Self::EmployeeProfile => PROFILE,
        }
    }

    /// The field of exactly this name.
    pub fn field(self, name: &str) -> Option<&'static Field> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// The field that a wrong `name` most likely means: its name or one of its aliases, compared case-insensitively.
    pub fn field_meant_by(self, name: &str) -> Option<&'static Field> {
        self.fields().iter().find(|field| {
            std::iter::once(&field.name)
                .chain(field.aliases)
                .any(|known| known.eq_ignore_ascii_case(name))
        })
    }

    /// Whether it has a date, so that a time zone must be known.
    pub fn has_dates(self) -> bool {
        self.fields()
            .iter()
            .any(|field| field.kind == FieldKind::DateTime)
    }

    /// The insider risk policy templates that use it.
    pub fn policy_templates(self) -> &'static [&'static str] {
        match self {
            Self::EmployeeResignation => &[
                "data theft by departing users",
                "security policy violations by departing users",
            ],
            Self::JobLevelChange | Self::PerformanceReview | Self::PerformanceImprovementPlan => &[
                "data leaks by risky users",
                "security policy violations by risky users",
            ],
            Self::EmployeeProfile => &["health record misuse"],
        }
    }
}

/// The [`id`](Scenario::id).
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_match_serde() {
        for scenario in Scenario::ALL {
            assert_eq!(serde_json::to_value(scenario).unwrap(), scenario.id());
            assert_eq!(
                serde_json::from_value::<Scenario>(scenario.id().into()).unwrap(),
                scenario
            );
            assert_eq!(scenario.to_string(), scenario.id());
        }
    }

    #[test]
    fn starts_with_the_upn_and_has_unique_names() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.fields()[0].kind, FieldKind::Upn);
            let names: Vec<_> = scenario
                .fields()
                .iter()
                .flat_map(|field| field.aliases.iter().chain([&field.name]))
                .collect();
            assert_eq!(
                names.iter().collect::<BTreeSet<_>>().len(),
                names.len(),
                "{scenario}"
            );
        }
    }

    #[test]
    fn requires_the_documented_fields() {
        for (scenario, expected) in [
            (
                Scenario::EmployeeResignation,
                "EmailAddress ResignationDate LastWorkingDate",
            ),
            (Scenario::JobLevelChange, "EmailAddress EffectiveDate"),
            (Scenario::PerformanceReview, "EmailAddress EffectiveDate"),
            (Scenario::PerformanceImprovementPlan, "EmailAddress EffectiveDate"),
            (
                Scenario::EmployeeProfile,
                "EmailAddress EmployeeFirstName EmployeeLastName EmployeeAddressLine1 EmployeeZipCode",
            ),
        ] {
            let required = scenario.fields().iter().filter(|field| field.required);
            assert_eq!(
                required.map(|field| field.name).collect::<Vec<_>>().join(" "),
                expected
            );
        }
    }

    #[test]
    fn aliases_are_suggestions_only() {
        let scenario = Scenario::EmployeeResignation;
        assert_eq!(scenario.field("TerminationDate"), None);
        assert_eq!(
            scenario.field_meant_by("terminationdate").unwrap().name,
            "ResignationDate"
        );
        assert_eq!(
            scenario.field_meant_by("emailaddress").unwrap().name,
            "EmailAddress"
        );
        assert_eq!(scenario.field_meant_by("Salary"), None);
    }
}
