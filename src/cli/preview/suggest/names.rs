//! What HR systems call the fields of the HR schema.

/// Words that say whose column it is and nothing of what it holds.
const FILLERS: [&str; 9] = [
    "employee", "emp", "worker", "person", "the", "of", "value", "custom", "current",
];

/// Words in a column's name that say that it is about something else, unless the known name has them too.
const STRANGERS: [&str; 18] = [
    "manager",
    "supervisor",
    "emergency",
    "spouse",
    "birth",
    "hire",
    "hired",
    "start",
    "created",
    "updated",
    "modified",
    "personal",
    "private",
    "reports",
    "reason",
    "type",
    "id",
    "code",
];

/// Words that a place of work has and a home address has not.
const OF_WORK: [&str; 6] = ["work", "office", "business", "company", "location", "site"];

/// Names of a field, likeliest first, as words.
pub(super) fn known(field: &str) -> &'static [&'static str] {
    match field {
        "EmailAddress" => &[
            "user principal name",
            "upn",
            "work email",
            "work email address",
            "primary work email",
            "business email",
            "company email",
            "corporate email",
            "email address",
            "email",
            "e mail",
            "mail",
            "e mail address",
            "email uri",
            "user name",
            "login",
        ],
        "ResignationDate" => &[
            "resignation date",
            "date of resignation",
            "resign date",
            "resigned on",
            "resigned",
            "notice date",
            "notification date",
            "notice given",
            "notice given on",
            "notice announced",
            "resignation notice date",
            "date of notice",
            "date notice given",
            "resignation submitted",
            "resignation received",
        ],
        "LastWorkingDate" => &[
            "last working date",
            "last working day",
            "last day of work",
            "last day worked",
            "date last worked",
            "last date worked",
            "last worked date",
            "last worked day",
            "last work day",
            "last work date",
            "termination last day of work",
            "last day",
            "final day",
            "leaving date",
            "leave date",
            "exit date",
            "separation date",
            "termination date",
            "term date",
            "date of termination",
            "date terminated",
            "terminated at",
            "terminated on",
            "termination effective date",
            "employment end date",
            "end date",
            "relieving date",
        ],
        "EffectiveDate" => &[
            "effective date",
            "date effective",
            "active effective date",
            "effective from",
            "effective",
            "effective start date",
            "job effective date",
            "change date",
            "review date",
            "rating date",
            "plan start date",
            "completed date",
            "completion date",
            "date completed",
            "valid from",
            "start date",
            "date",
        ],
        "Remarks" => &[
            "remarks",
            "remark",
            "comments",
            "comment",
            "notes",
            "note",
            "review comments",
            "review remarks",
            "improvement remarks",
            "manager comments",
            "summary",
            "feedback",
            "description",
        ],
        "OldLevel" => &[
            "old level",
            "previous level",
            "prior level",
            "from level",
            "former level",
            "old job level",
            "previous job level",
            "old grade",
            "previous grade",
            "old pay grade",
            "previous pay grade",
            "from grade",
            "old job title",
            "previous job title",
            "previous title",
            "old title",
        ],
        "NewLevel" => &[
            "new level",
            "to level",
            "new job level",
            "job level",
            "new grade",
            "new pay grade",
            "to grade",
            "level",
            "management level",
            "career level",
            "pay grade",
            "salary grade",
            "job grade",
            "grade",
            "grade code",
            "pay grade code",
            "band",
            "new job title",
            "new title",
        ],
        "Rating" => &[
            "rating",
            "overall rating",
            "performance rating",
            "final rating",
            "review rating",
            "overall form rating",
            "rating value",
            "rating score",
            "review score",
            "performance score",
            "overall score",
            "score",
            "result",
        ],
        "EmployeeFirstName" => &[
            "first name",
            "given name",
            "legal first name",
            "forename",
            "preferred first name",
        ],
        "EmployeeLastName" => &[
            "last name",
            "family name",
            "family name 1",
            "surname",
            "legal last name",
        ],
        "EmployeeAddressLine1" => &[
            "address line 1",
            "address 1",
            "add line 1",
            "line one",
            "address line one",
            "home address line 1",
            "street address",
            "street",
            "street 1",
            "home address 1",
            "line 1",
            "home address",
            "address",
        ],
        "EmployeeAddressLine2" => &[
            "address line 2",
            "address 2",
            "add line 2",
            "line two",
            "address line two",
            "home address line 2",
            "street 2",
            "home address 2",
            "line 2",
        ],
        "EmployeeCity" => &[
            "city",
            "home city",
            "address city",
            "city name",
            "town",
            "town or city",
            "municipality",
            "locality",
        ],
        "EmployeeState" => &[
            "state",
            "home state",
            "address state",
            "state province",
            "state or province",
            "state code",
            "province",
            "region",
            "region 2",
        ],
        "EmployeeZipCode" => &[
            "zip code",
            "zip",
            "postal code",
            "postcode",
            "post code",
            "home zip code",
            "address zip code",
            "home postal code",
            "postal",
        ],
        "EmployeeCountry" => &[
            "country",
            "home country",
            "address country",
            "country code",
            "country name",
            "country region",
        ],
        "EmployeeDepartment" => &[
            "department",
            "dept",
            "department name",
            "home department",
            "job department",
            "organizational unit",
            "org unit",
            "organization",
            "team",
        ],
        "EmployeeType" => &[
            "employee type",
            "worker type",
            "employment type",
            "emp type",
            "employee class",
            "employee type code",
            "employment category",
            "contract type",
        ],
        "EmployeeRole" => &[
            "role",
            "job title",
            "title",
            "position",
            "position title",
            "business title",
            "job name",
            "job role",
            "job profile name",
        ],
        _ => &[],
    }
}

/// A column's name or a known one, as lower-case words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words(Vec<String>);

impl Words {
    /// Splits at everything that is no letter or digit, and where the case or the kind changes: `Work_Email`,
    /// `workEmail`, `address1`.
    pub(super) fn of(name: &str) -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut before: Option<char> = None;
        let mut chars = name.chars().peekable();
        while let Some(c) = chars.next() {
            if c.is_alphanumeric() {
                let starts = match before {
                    Some(before) if before.is_alphanumeric() => {
                        (c.is_uppercase()
                            && (before.is_lowercase()
                                || chars.peek().is_some_and(|next| next.is_lowercase())))
                            || (c.is_numeric() != before.is_numeric())
                    }
                    _ => true,
                };
                if starts {
                    words.push(String::new());
                }
                if let Some(word) = words.last_mut() {
                    word.extend(c.to_lowercase());
                }
            }
            before = Some(c);
        }
        Self(words)
    }

    fn joined(&self) -> String {
        self.0.concat()
    }

    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|own| own == word)
    }

    /// Without the words that say nothing, unless nothing else would be left.
    fn plain(&self) -> Self {
        let plain: Vec<String> = self
            .0
            .iter()
            .filter(|word| !FILLERS.contains(&word.as_str()))
            .cloned()
            .collect();
        if plain.is_empty() {
            self.clone()
        } else {
            Self(plain)
        }
    }

    fn same_as(&self, other: &Self) -> bool {
        let sorted = |words: &Self| {
            let mut words = words.0.clone();
            words.sort();
            words
        };
        self.joined() == other.joined() || sorted(self) == sorted(other)
    }

    fn includes(&self, other: &Self) -> bool {
        other.0.iter().all(|word| self.has(word))
    }
}

/// How well a column's name fits a field: up to 100 for one of the field's known names, less the less likely it is;
/// 60 or less if the name has other words too. `names`: from the outermost in.
pub(super) fn fit(field: &str, names: &[String]) -> Option<u32> {
    // Some services wrap each value in an object that says what it is.
    let names = match names {
        [wrapper @ .., last] if !wrapper.is_empty() && last.eq_ignore_ascii_case("value") => wrapper,
        all => all,
    };
    let leaf = Words::of(names.last()?);
    let whole = Words(names.iter().flat_map(|name| Words::of(name).0).collect());
    let of_home = field.starts_with("EmployeeAddress")
        || [
            "EmployeeCity",
            "EmployeeState",
            "EmployeeZipCode",
            "EmployeeCountry",
        ]
        .contains(&field);
    if of_home && whole.0.iter().any(|word| OF_WORK.contains(&word.as_str())) {
        return None;
    }
    let mut best = None;
    for (rank, name) in known(field).iter().enumerate() {
        let wanted = Words::of(name);
        let rank = u32::try_from(rank).unwrap_or(u32::MAX).min(30);
        let forms = [whole.clone(), leaf.clone(), whole.plain(), leaf.plain()];
        let exact = forms
            .iter()
            .position(|form| form.same_as(&wanted) || form.same_as(&wanted.plain()));
        // A member called like the field, in an object that is about somebody else.
        let stranger = whole
            .0
            .iter()
            .any(|word| STRANGERS.contains(&word.as_str()) && !wanted.has(word));
        let score = match exact {
            Some(_) if stranger && !leaf.same_as(&wanted) => None,
            Some(_) if stranger => Some(45 - rank),
            Some(form) => Some(100 - rank - u32::try_from(form).unwrap_or_default()),
            // One word alone is in too many names.
            None if wanted.0.len() > 1 && !stranger && whole.includes(&wanted) => {
                let more = u32::try_from(whole.0.len() - wanted.0.len())
                    .unwrap_or(u32::MAX)
                    .min(6);
                Some(60 - rank / 2 - 4 * more)
            }
            None => None,
        };
        best = best.max(score);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(field: &str, name: &str) -> Option<u32> {
        fit(field, &name.split('.').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn names_fall_into_words() {
        for (name, words) in [
            ("Termination_Last_Day_of_Work", "termination last day of work"),
            ("workEmail", "work email"),
            ("address1", "address 1"),
            ("userID", "user id"),
            ("HRStatus", "hr status"),
            ("E-Mail (work)", "e mail work"),
        ] {
            assert_eq!(Words::of(name).0.join(" "), words);
        }
    }

    #[test]
    fn vendors_names_are_known() {
        for (field, names) in [
            (
                "EmailAddress",
                &[
                    "workEmail",
                    "Work_Email",
                    "userPrincipalName",
                    "emailAddress",
                    "mail",
                    "E-Mail",
                    "Work Email",
                    "emailUri",
                ][..],
            ),
            (
                "LastWorkingDate",
                &[
                    "terminationDate",
                    "Termination_Last_Day_of_Work",
                    "lastDateWorked",
                    "dateLastWorked",
                    "LastDayWorked",
                    "lastWorkingDate",
                    "Last Day of Work",
                    "termDate",
                    "endDate",
                    "last_day",
                    "workerDates.terminationDate",
                ],
            ),
            (
                "ResignationDate",
                &[
                    "resignation_date",
                    "NotificationDate",
                    "Notice announced",
                    "resign_date",
                ],
            ),
            (
                "EmployeeFirstName",
                &[
                    "firstName",
                    "First_Name",
                    "givenName",
                    "name.first",
                    "person.legalName.givenName",
                ],
            ),
            (
                "EmployeeZipCode",
                &["zipcode", "addressZipCode", "postalCode", "address.zip", "ZIP"],
            ),
            (
                "EmployeeAddressLine1",
                &["address1", "addressLine1", "lineOne", "address.line1"],
            ),
            ("EmployeeCity", &["city", "townOrCity", "cityName", "Home City"]),
            (
                "NewLevel",
                &[
                    "payGrade",
                    "Management_Level",
                    "salaryGrade",
                    "level",
                    "New Level",
                ],
            ),
            ("Rating", &["Rating", "overallFormRating", "Performance Rating"]),
        ] {
            for name in names {
                assert!(
                    score(field, name).is_some_and(|score| score >= 60),
                    "{field} {name} {:?}",
                    score(field, name)
                );
            }
        }
    }

    #[test]
    fn what_is_about_something_else_does_not_fit() {
        for (field, name) in [
            ("LastWorkingDate", "hireDate"),
            ("LastWorkingDate", "birth_date"),
            ("EmailAddress", "managerEmail"),
            ("EmployeeFirstName", "emergencyContact.firstName"),
            ("EmployeeCity", "workCity"),
            ("EmployeeRole", "status"),
            ("EmployeeAddressLine1", "ip_address_of_device_used"),
        ] {
            assert!(
                score(field, name).is_none_or(|score| score < 50),
                "{field} {name} {:?}",
                score(field, name)
            );
        }
        assert!(score("EmailAddress", "workEmail") > score("EmailAddress", "email"));
        assert!(score("LastWorkingDate", "Last Day of Work") > score("LastWorkingDate", "Termination Date"));
    }
}
