//! The file that a pipeline reads, and the rows that must arrive.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

/// The scenario of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Resignations,
    LevelChanges,
}

impl Kind {
    pub(crate) fn scenario(self) -> &'static str {
        match self {
            Self::Resignations => "employee_resignation",
            Self::LevelChanges => "job_level_change",
        }
    }

    pub(crate) fn fields(self) -> Value {
        match self {
            Self::Resignations => {
                json!({"EmailAddress": "upn", "ResignationDate": "day", "LastWorkingDate": "day"})
            }
            Self::LevelChanges => {
                json!({"EmailAddress": "upn", "EffectiveDate": "day", "OldLevel": "level"})
            }
        }
    }

    /// The date of a row that arrived.
    fn date(self) -> &'static str {
        match self {
            Self::Resignations => "LastWorkingDate",
            Self::LevelChanges => "EffectiveDate",
        }
    }

    /// Identifies a row that arrived.
    pub(crate) fn key(self, values: &Value) -> String {
        let text = |name: &str| values[name].as_str().unwrap();
        format!("{} {}", text("EmailAddress"), &text(self.date())[..10])
    }
}

/// A CSV file that grows.
pub(crate) struct Export {
    pub(crate) kind: Kind,
    path: PathBuf,
    text: String,
    expected: BTreeSet<String>,
    /// Characters of the level in each row.
    pub(crate) width: usize,
    lines: usize,
    /// Bytes of the text already written as files; `None` if there is one growing file.
    dropped: Option<usize>,
    drops: usize,
}

impl Export {
    /// Without rows; compressed if the name ends in `.gz`.
    pub(crate) fn new(kind: Kind, path: PathBuf) -> Self {
        Self {
            kind,
            path,
            text: "upn,day,level\n".to_owned(),
            expected: BTreeSet::new(),
            width: 1,
            lines: 0,
            dropped: None,
            drops: 0,
        }
    }

    /// Writes each batch of rows to a new file in the folder `path`.
    pub(crate) fn dropping(kind: Kind, path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        Self {
            dropped: Some(0),
            ..Self::new(kind, path)
        }
    }

    /// Files written so far.
    pub(crate) fn drops(&self) -> usize {
        self.drops
    }

    /// The rows that must have arrived in the end.
    pub(crate) fn expected(&self) -> &BTreeSet<String> {
        &self.expected
    }

    /// Adds `rows` lines: of each 40, one is invalid and one a duplicate; some people return with another date.
    pub(crate) fn grow(&mut self, rows: usize) {
        for _ in 0..rows {
            self.lines += 1;
            let n = self.lines;
            let (person, day) = match n % 7 {
                0 => (n - 3, 2),
                _ => (n, 1),
            };
            match n % 40 {
                17 => self.line("nobody", 1, 1),
                23 => self.row(n - 1, 1),
                _ => self.row(person, day),
            }
        }
        self.write();
    }

    /// Adds a row that exceeds the size limit of the service.
    pub(crate) fn add_too_large(&mut self) {
        self.line("large@contoso.com", 1, 50_000);
        self.write();
    }

    fn row(&mut self, person: usize, day: usize) {
        let email = format!("user{person:06}@contoso.com");
        self.line(&email, day, self.width);
        self.expected.insert(format!("{email} 2026-04-{day:02}"));
    }

    fn line(&mut self, upn: &str, day: usize, width: usize) {
        let _ = writeln!(
            self.text,
            "{upn},2026-04-{day:02}T00:00:00Z,{}",
            "x".repeat(width)
        );
    }

    fn write(&mut self) {
        if let Some(dropped) = &mut self.dropped {
            self.drops += 1;
            let header = self.text.find('\n').unwrap() + 1;
            let rows = &self.text[header.max(*dropped)..];
            let text = format!("{}{rows}", &self.text[..header]);
            *dropped = self.text.len();
            // Renamed when complete.
            let unfinished = self.path.join("drop.tmp");
            std::fs::write(&unfinished, text).unwrap();
            std::fs::rename(unfinished, self.path.join(format!("drop-{:04}.csv", self.drops))).unwrap();
        } else if self.path.extension().is_some_and(|end| end == "gz") {
            let file = std::fs::File::create(&self.path).unwrap();
            let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            gz.write_all(self.text.as_bytes()).unwrap();
            gz.finish().unwrap();
        } else {
            std::fs::write(&self.path, &self.text).unwrap();
        }
    }
}
