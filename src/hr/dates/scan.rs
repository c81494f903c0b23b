//! The letters of a pattern: which directives it has, and what to say about those that cannot be read.

use super::named::Named;
use super::pattern::Trouble;
use crate::config::suggestion;

/// A piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// This byte.
    Literal(u8),
    /// Any white space, or none.
    Space,
    /// What a `%` stands before.
    Directive(Directive),
}

/// A directive such as `%d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) letter: u8,
    /// Has nothing between `%` and letter that changes how it reads.
    pub(super) plain: bool,
}

impl Item {
    pub(super) fn is_one_of(&self, letters: &str) -> bool {
        matches!(self, Self::Directive(directive) if letters.as_bytes().contains(&directive.letter))
    }
}

/// Letters that can be read.
const KNOWN: &[u8] = b"AaBbCDdeFfGHhIjklMmNnPpRSTtUuVWwYyz%";

/// Takes `source` apart.
pub(super) fn scan(source: &str) -> Result<Vec<Item>, Trouble> {
    if !source.contains('%') {
        return Err(no_pattern(source));
    }
    let mut items = Vec::new();
    let mut rest = source.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if first.is_ascii_whitespace() {
            items.push(Item::Space);
            continue;
        }
        if *first != b'%' {
            items.push(Item::Literal(*first));
            continue;
        }
        let start = rest;
        if let [b'_' | b'0' | b'-' | b'^' | b'#', tail @ ..] = rest {
            rest = tail;
        }
        let flagged = start.len() - rest.len();
        let padding = matches!(start.first(), Some(b'_' | b'0' | b'-')) || flagged == 0;
        while let [b'0'..=b'9' | b':' | b'.', tail @ ..] = rest {
            rest = tail;
        }
        let bare = start.len() - rest.len() == flagged;
        let [letter, tail @ ..] = rest else {
            return Err(Trouble::new(
                "the format ends after a `%`",
                "write `%%` for a percent sign",
            ));
        };
        rest = tail;
        check(*letter)?;
        items.push(match letter {
            b'%' if bare && flagged == 0 => Item::Literal(b'%'),
            _ => Item::Directive(Directive {
                letter: *letter,
                plain: bare && padding,
            }),
        });
    }
    Ok(items)
}

fn check(letter: u8) -> Result<(), Trouble> {
    if KNOWN.contains(&letter) {
        return Ok(());
    }
    let (what, hint) = match letter {
        b'Z' => (
            "names of zones such as EST cannot be read: they mean different zones to different people",
            "leave the name out of the value, and give `timezone`",
        ),
        b'Q' => (
            "names of zones inside a value cannot be read",
            "leave the name out of the value, and give `timezone`",
        ),
        b's' => (
            "seconds since 1970 cannot be part of a format",
            "give the format `epoch_seconds`, which stands alone",
        ),
        b'g' => (
            "years of two digits by ISO week cannot be read",
            "give the format `%G-W%V-%u`",
        ),
        b'c' | b'r' | b'X' | b'x' => (
            "formats that depend on a country's habits cannot be read",
            "spell it out, such as `%m/%d/%Y %I:%M:%S %p`",
        ),
        _ => (
            "is no directive that can be read",
            "known are `%Y` year, `%m` month, `%d` day, `%b` Jan, `%B` January, `%H` hour, `%I` hour with `%p` AM \
             or PM, `%M` minute, `%S` second, `%.f` fraction, `%z` and `%:z` offset, `%j` day of the year, `%a` Mon",
        ),
    };
    let name = match letter {
        0..=127 => format!("`%{}`", char::from(letter)),
        _ => "a character beyond ASCII".to_owned(),
    };
    let message = if what.starts_with("is ") {
        format!("{name} {what}")
    } else {
        format!("{name}: {what}")
    };
    Err(Trouble::new(message, hint))
}

/// What is neither a name nor a pattern: a name misspelt, or the letters of another language (`MM/dd/yyyy`).
fn no_pattern(source: &str) -> Trouble {
    let message = format!("`{source}` is no format: it has no `%` and is not one of the names");
    let mut pattern = source.to_owned();
    for (letters, directive) in [
        ("yyyy", "%Y"),
        ("YYYY", "%Y"),
        ("yy", "%y"),
        ("YY", "%y"),
        ("MMMM", "%B"),
        ("MMM", "%b"),
        ("MM", "%m"),
        ("dd", "%d"),
        ("DD", "%d"),
        ("HH", "%H"),
        ("hh", "%I"),
        ("mm", "%M"),
        ("ss", "%S"),
    ] {
        pattern = pattern.replace(letters, directive);
    }
    let hint = if pattern.contains("%Y") || pattern.contains("%y") {
        // Lower-case months are met in `yyyy-mm-dd`, where minutes would make no sense.
        if !pattern.contains("%m") && !pattern.contains("%b") && !pattern.contains("%B") {
            pattern = pattern.replacen("%M", "%m", 1);
        }
        format!("formats are written as in strftime: did you mean `{pattern}`?")
    } else {
        suggestion(source, Named::ALL.map(Named::name))
            .unwrap_or_else(|| "formats are written as in strftime, such as `%m/%d/%Y`".to_owned())
    };
    Trouble::new(message, hint)
}

/// Patterns that a value of the wrong kind most likely fits: day and month exchanged, the year in two digits.
pub(super) fn variants(source: &str) -> Vec<String> {
    let count = |letters: &str| {
        scan(source).map_or(0, |items| {
            items.iter().filter(|item| item.is_one_of(letters)).count()
        })
    };
    let spelt_out = source.replace("%F", "%Y-%m-%d").replace("%D", "%m/%d/%y");
    let numeric = count("mFD") == 1 && count("deFD") == 1;
    let exchanged = numeric.then(|| {
        exchange(&spelt_out, |letter| match letter {
            'm' => 'd',
            'd' | 'e' => 'm',
            other => other,
        })
    });
    let short =
        (count("YF") == 1).then(|| exchange(&spelt_out, |letter| if letter == 'Y' { 'y' } else { letter }));
    [exchanged, short].into_iter().flatten().collect()
}

/// `source` with the letters of its directives mapped by `to`.
fn exchange(source: &str, to: impl Fn(char) -> char) -> String {
    let mut directive = false;
    source
        .chars()
        .map(|c| {
            let mapped = if directive { to(c) } else { c };
            // Flags and widths stand between the `%` and its letter.
            directive = c == '%' && !directive || directive && !c.is_alphabetic() && c != '%';
            mapped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_that_cannot_be_read_are_explained() {
        for (source, message, hint) in [
            ("%Y-%m-%d %Z", "EST", "timezone"),
            ("%Y-%m-%d %Q", "zones", "timezone"),
            ("%s", "seconds since 1970", "epoch_seconds"),
            ("%c", "country", "%m/%d/%Y"),
            ("%Y-%m-%L", "`%L` is no directive", "`%d` day"),
            ("%Y-%m-%", "ends after a `%`", "%%"),
            ("%Y-%m-%é", "beyond ASCII", "`%d` day"),
        ] {
            let trouble = scan(source).unwrap_err();
            assert!(trouble.message.contains(message), "{source}: {}", trouble.message);
            assert!(
                trouble.hint.as_deref().unwrap().contains(hint),
                "{source}: {:?}",
                trouble.hint
            );
        }
    }

    #[test]
    fn other_languages_of_formats_are_translated() {
        for (source, hint) in [
            ("MM/dd/yyyy", "`%m/%d/%Y`"),
            ("DD.MM.YYYY HH:mm", "`%d.%m.%Y %H:%M`"),
            ("yyyy-mm-dd", "`%Y-%m-%d`"),
            ("dd-MMM-yy", "`%d-%b-%y`"),
            ("excel", "`excel_serial`"),
        ] {
            let trouble = scan(source).unwrap_err();
            assert!(
                trouble.hint.as_deref().unwrap().contains(hint),
                "{source}: {:?}",
                trouble.hint
            );
        }
    }

    #[test]
    fn variants_exchange_day_and_month_and_shorten_the_year() {
        assert_eq!(variants("%m/%d/%Y"), ["%d/%m/%Y", "%m/%d/%y"]);
        assert_eq!(variants("%-d.%-m.%y"), ["%-m.%-d.%y"]);
        assert_eq!(variants("%F %T"), ["%Y-%d-%m %T", "%y-%m-%d %T"]);
        assert_eq!(variants("%d %b %Y"), ["%d %b %y"]);
        assert_eq!(variants("%%d %d/%m/%Y"), ["%%d %m/%d/%Y", "%%d %d/%m/%y"]);
    }
}
