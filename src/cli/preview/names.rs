//! How well a column's name matches a field of the HR schema. The names that HR systems use are in `field_names.txt`.

/// Words before a name that do not say what a column holds.
const FILLERS: &str = "employee emp worker person the custom current";

/// Parts of the names of columns about something else, unless the known name has them too.
const OTHER_TOPICS: &str =
    "manager supervisor emergency spouse birth hire created updated modified personal private reports reason";

/// Parts of the names of a workplace's address, which is not a home address.
const WORKPLACE: &str = "workaddress office business company location site";

/// Up to 100 for one of the field's known names, likeliest first; up to 58 if the name has other words too. `names` are
/// those of the column and, for a member of an object, of the objects around it, outermost first.
pub(super) fn score(field: &str, names: &[String]) -> Option<u32> {
    // Some services wrap each value in an object.
    let names = match names {
        [wrapper @ .., last] if !wrapper.is_empty() && last.eq_ignore_ascii_case("value") => wrapper,
        all => all,
    };
    let last = letters(names.last()?);
    let all = letters(&names.concat());
    let mut fields = include_str!("data/field_names.txt").lines();
    let known = fields.find_map(|line| line.strip_prefix(field)?.strip_prefix(": "))?;
    let is_home_address = known.contains("home ") && !known.contains("department");
    if is_home_address && WORKPLACE.split(' ').any(|part| all.contains(part)) {
        return None;
    }
    let is = |name: &str, wanted: &str| name == wanted || plain(name) == wanted;
    let scores = (0_u32..).zip(known.split(", ")).filter_map(|(rank, known)| {
        let rank = rank.min(30);
        let wanted = letters(known);
        let is_elsewhere = |topic: &str| all.contains(topic) && !wanted.contains(topic);
        if OTHER_TOPICS.split(' ').any(is_elsewhere) {
            None
        } else if is(&all, &wanted) || is(&last, &wanted) {
            Some(100 - rank)
        } else if known.contains(' ') && all.contains(&wanted) {
            Some(58 - rank / 2)
        } else {
            None
        }
    });
    scores.max()
}

fn letters(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// Without fillers.
fn plain(name: &str) -> &str {
    let without = FILLERS.split(' ').find_map(|filler| name.strip_prefix(filler));
    without.map_or(name, plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_names_of_hr_systems() {
        let names = "EmailAddress: workEmail Work_Email userPrincipalName emailAddress mail E-Mail emailUri\n\
             LastWorkingDate: terminationDate Termination_Last_Day_of_Work lastDateWorked termDate workerDates.terminationDate\n\
             ResignationDate: resignation_date NotificationDate resign_date\n\
             EmployeeFirstName: firstName Employee_First_Name name.first person.legalName.givenName\n\
             EmployeeZipCode: zipcode addressZipCode postalCode address.zip ZIP homeAddress.zipCode.value\n\
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
        assert!(scored("EmailAddress", "workEmail") > scored("EmailAddress", "email"));
        assert!(scored("EmailAddress", "email") > scored("EmailAddress", "primary_work_email_1"));
    }

    #[test]
    fn rejects_names_about_something_else() {
        let names = "LastWorkingDate hireDate, EmailAddress managerEmail, EmailAddress personal.email, \
             EmployeeFirstName emergencyContact.firstName, EmployeeCity office.city, EmployeeRole status, \
             EmployeeAddressLine1 ip_address_of_device_used";
        for (field, name) in names.split(", ").filter_map(|pair| pair.split_once(' ')) {
            assert_eq!(scored(field, name), None, "{field} {name}");
        }
    }

    fn scored(field: &str, name: &str) -> Option<u32> {
        score(field, &name.split('.').map(str::to_owned).collect::<Vec<_>>())
    }
}
