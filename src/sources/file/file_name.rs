//! Templates of file names: markers, and the targets of moves.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::settings::template::{Placeholder, Template, TemplateError};
use crate::storage::FileInfo;

/// A name that is derived from that of another file.
#[derive(Debug, Clone)]
pub(super) struct NameTemplate(Template);

/// What the placeholders of a move mean in a run.
#[derive(Debug, Clone)]
pub(super) struct RunNames {
    pub(super) run: std::sync::Arc<str>,
    pub(super) now: Timestamp,
}

impl NameTemplate {
    /// A template with `{name}` and `{stem}`, the name without its last extension.
    pub(super) fn marker(text: &str) -> Result<Self, TemplateError> {
        let template = Self(Template::parse_known(text, &["name", "stem"])?);
        match template.is_distinct() && !text.contains('/') && text != "{name}" {
            true => Ok(template),
            false => Err(TemplateError {
                message: format!("`{text}` does not give each file its own marker in the same folder"),
                hint: "use the name of the file: `{name}.done` or `{stem}.ok`".to_owned(),
            }),
        }
    }

    /// A template with `{name}`, `{stem}`, `{run}` and `{date:%Y%m%d}`. A name that ends with `/` is a folder.
    pub(super) fn target(text: &str) -> Result<Self, TemplateError> {
        let template = Self(Template::parse_known(text, &["name", "stem", "run", "date"])?);
        let epoch = RunNames {
            run: "run".into(),
            now: Timestamp::UNIX_EPOCH,
        };
        if let Err(message) = template.fill("name.csv", Some(&epoch)) {
            let hint = "write `{date:%Y%m%d}`, with the format of the date".to_owned();
            return Err(TemplateError { message, hint });
        }
        match template.is_distinct() || text.ends_with('/') {
            true => Ok(template),
            false => Err(TemplateError {
                message: format!("`{text}` gives all files the same name"),
                hint: "use the name of the file, `{name}` or `{stem}`, or end with `/`".to_owned(),
            }),
        }
    }

    fn is_distinct(&self) -> bool {
        self.0.uses("name") || self.0.uses("stem")
    }

    /// The name for a file of this name, by the placeholders `{name}` and `{stem}` only.
    pub(super) fn of_name(&self, name: &str) -> String {
        self.fill(name, None).unwrap_or_default()
    }

    pub(super) fn beside(&self, file: &FileInfo) -> String {
        beside(&file.path, &self.of_name(file.file_name()))
    }

    /// The name for a file of this name in a run.
    pub(super) fn in_run(&self, name: &str, run: &RunNames) -> String {
        // The format of the date was checked.
        let mut filled = self.fill(name, Some(run)).unwrap_or_default();
        if filled.ends_with('/') {
            filled.push_str(name);
        }
        filled
    }

    fn fill(&self, name: &str, run: Option<&RunNames>) -> Result<String, String> {
        self.0.render(|placeholder, out| {
            let Placeholder { name: key, format } = placeholder;
            match (&**key, format, run) {
                ("name", None, _) => out.push_str(name),
                ("stem", None, _) => out.push_str(name.rsplit_once('.').map_or(name, |(stem, _)| stem)),
                ("run", None, Some(run)) => out.push_str(&run.run),
                ("date", Some(format), Some(run)) => {
                    let date = jiff::fmt::strtime::format(&**format, &run.now.to_zoned(TimeZone::UTC));
                    out.push_str(&date.map_err(|error| format!("invalid date format `{format}`: {error}"))?);
                }
                _ => return Err(format!("invalid placeholder `{{{key}}}`")),
            }
            Ok(())
        })
    }
}

/// `relative` to the folder of the file at `path`, unless it starts with a slash.
pub(super) fn beside(path: &str, relative: &str) -> String {
    match path.rfind(['/', std::path::MAIN_SEPARATOR]) {
        Some(at) if !relative.starts_with('/') => format!("{}{relative}", &path[..=at]),
        _ => relative.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_names_beside_the_file() {
        let run = RunNames {
            run: "r1".into(),
            now: "2026-03-01T10:00:00Z".parse().unwrap(),
        };
        for (template, expected) in [
            ("archive/{name}-{run}", "archive/a.csv.pgp-r1"),
            ("{date:%Y}/{stem}.done", "2026/a.csv.done"),
        ] {
            let template = NameTemplate::target(template).unwrap();
            assert_eq!(template.in_run("a.csv.pgp", &run), expected);
        }
        for (path, relative, expected) in [
            ("/out/a.csv", "archive/a.csv", "/out/archive/a.csv"),
            ("/out/a.csv", "/old/a.csv", "/old/a.csv"),
            ("a.csv", "old/a.csv", "old/a.csv"),
        ] {
            assert_eq!(beside(path, relative), expected);
        }
    }

    #[test]
    fn rejects_invalid_templates() {
        for (template, expected) in [
            ("archive/{nam}", "did you mean `name`"),
            ("archive/old.csv", "same name"),
            ("archive/{date}{name}", "with the format"),
            ("archive/{date:%!}{name}", "invalid date format"),
        ] {
            let error = NameTemplate::target(template).unwrap_err().to_string();
            assert!(error.contains(expected), "{template}: {error}");
        }
        for marker in ["done", "{name}", "done/{name}"] {
            assert!(NameTemplate::marker(marker).is_err(), "{marker}");
        }
    }
}
