//! Whether a column's name is one that HR systems use for a field of the HR schema. The names are in `field_names.txt`.

use std::sync::LazyLock;

/// For each field the words of its known names, likeliest first.
static KNOWN: LazyLock<Vec<(&str, Vec<Words>)>> = LazyLock::new(|| {
    let lines = include_str!("field_names.txt").lines();
    let fields = lines.filter_map(|line| line.split_once(": "));
    fields
        .map(|(field, names)| (field, names.split(", ").map(Words::of).collect()))
        .collect()
});

/// Words that do not say what a column holds.
const FILLERS: [&str; 9] = [
    "employee", "emp", "worker", "person", "the", "of", "value", "custom", "current",
];

/// Words of columns about something else, unless the known name has them too.
const OTHER_TOPICS: &str = "manager supervisor emergency spouse birth hire hired start created updated modified personal private \
                            reports reason type id code";

/// Words of a workplace's address, which is not a home address.
const WORKPLACE: [&str; 6] = ["work", "office", "business", "company", "location", "site"];

/// A name as lower-case words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Words(Vec<String>);

impl Words {
    /// Splits at everything that is not a letter or digit, and where the case or the kind changes: `Work_Email`,
    /// `workEmail`, `address1`.
    fn of(name: &str) -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut before: Option<char> = None;
        let mut chars = name.chars().peekable();
        while let Some(c) = chars.next() {
            if c.is_alphanumeric() {
                let starts = before.is_none_or(|before| {
                    let next_is_lower = chars.peek().is_some_and(|next| next.is_lowercase());
                    !before.is_alphanumeric()
                        || (c.is_uppercase() && (before.is_lowercase() || next_is_lower))
                        || c.is_numeric() != before.is_numeric()
                });
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

    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|own| own == word)
    }

    /// Without fillers, unless nothing else would be left.
    fn plain(&self) -> Self {
        let plain = self.0.iter().filter(|word| !FILLERS.contains(&word.as_str()));
        let plain: Vec<String> = plain.cloned().collect();
        if plain.is_empty() {
            self.clone()
        } else {
            Self(plain)
        }
    }

    /// The same words in any order, or the same letters.
    fn matches(&self, other: &Self) -> bool {
        let sorted = |words: &Self| {
            let mut words = words.0.clone();
            words.sort();
            words
        };
        self.0.concat() == other.0.concat() || sorted(self) == sorted(other)
    }
}

/// How well a column's name matches a field: up to 100 for one of its known names, by rank; at most 60 if the name has other
/// words too. `names` are those of the column and, for a member of an object, of the objects around it, outermost first.
pub(super) fn score(field: &str, names: &[String]) -> Option<u32> {
    // Some services wrap each value in an object.
    let names = match names {
        [wrapper @ .., last] if !wrapper.is_empty() && last.eq_ignore_ascii_case("value") => wrapper,
        all => all,
    };
    let last = Words::of(names.last()?);
    let all = Words(names.iter().flat_map(|name| Words::of(name).0).collect());
    let is_home_address = field.starts_with("EmployeeAddress")
        || [
            "EmployeeCity",
            "EmployeeState",
            "EmployeeZipCode",
            "EmployeeCountry",
        ]
        .contains(&field);
    if is_home_address && WORKPLACE.iter().any(|word| all.has(word)) {
        return None;
    }
    let (_, known) = KNOWN.iter().find(|(known, _)| *known == field)?;
    let forms = [all.clone(), last.clone(), all.plain(), last.plain()];
    let scores = (0_u32..).zip(known).filter_map(|(rank, wanted)| {
        let rank = rank.min(30);
        let exact = forms
            .iter()
            .any(|form| form.matches(wanted) || form.matches(&wanted.plain()));
        let other_topic = OTHER_TOPICS
            .split(' ')
            .any(|word| all.has(word) && !wanted.has(word));
        let contains = wanted.0.len() > 1 && wanted.0.iter().all(|word| all.has(word));
        match (exact, other_topic) {
            (true, false) => Some(100 - rank),
            // A member with the field's name, in an object about something else.
            (true, true) if last.matches(wanted) => Some(45 - rank),
            (false, false) if contains => {
                let further = u32::try_from(all.0.len() - wanted.0.len()).unwrap_or(6).min(6);
                Some(60 - rank / 2 - 4 * further)
            }
            _ => None,
        }
    });
    scores.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(field: &str, name: &str) -> Option<u32> {
        score(field, &name.split('.').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn matches_names_of_hr_systems() {
        let names = "EmailAddress: workEmail Work_Email userPrincipalName emailAddress mail E-Mail emailUri\n\
             LastWorkingDate: terminationDate Termination_Last_Day_of_Work lastDateWorked termDate workerDates.terminationDate\n\
             ResignationDate: resignation_date NotificationDate resign_date\n\
             EmployeeFirstName: firstName First_Name name.first person.legalName.givenName\n\
             EmployeeZipCode: zipcode addressZipCode postalCode address.zip ZIP\n\
             EmployeeAddressLine1: address1 addressLine1 lineOne address.line1\n\
             EmployeeCity: city townOrCity cityName\n\
             NewLevel: payGrade Management_Level salaryGrade level\n\
             Rating: Rating overallFormRating";
        for (field, names) in names.lines().filter_map(|line| line.split_once(": ")) {
            for name in names.split(' ') {
                let score = scored(field, name);
                assert!(score.is_some_and(|score| score >= 60), "{field} {name} {score:?}");
            }
        }
    }

    #[test]
    fn rejects_names_about_something_else() {
        for (field, name) in [
            ("LastWorkingDate", "hireDate"),
            ("LastWorkingDate", "birth_date"),
            ("EmailAddress", "managerEmail"),
            ("EmployeeFirstName", "emergencyContact.firstName"),
            ("EmployeeCity", "workCity"),
            ("EmployeeRole", "status"),
            ("EmployeeAddressLine1", "ip_address_of_device_used"),
        ] {
            let score = scored(field, name);
            assert!(score.is_none_or(|score| score < 50), "{field} {name} {score:?}");
        }
        assert!(scored("EmailAddress", "workEmail") > scored("EmailAddress", "email"));
        assert!(
            scored("LastWorkingDate", "Last Day of Work") > scored("LastWorkingDate", "Termination Date")
        );
    }
}
