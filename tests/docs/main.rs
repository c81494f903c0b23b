//! The documentation: the generated settings reference is current, and every relative link leads to a file.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod examples;
mod settings;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` with this extension, sorted.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn settings_reference_is_current() {
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    let folder = repository().join("docs/src/reference/settings");
    let pages = settings::pages();
    let mut stale = String::new();
    for (name, text) in &pages {
        let path = folder.join(name);
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, text).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != *text {
            writeln!(stale, "{name} is not what the JSON Schema says").unwrap();
        }
    }
    for path in files(&folder, "md") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !pages.iter().any(|(page, _)| *page == name) {
            writeln!(stale, "{name} describes a component that does not exist").unwrap();
        }
    }
    assert!(
        stale.is_empty(),
        "{stale}run `make reference` and commit the result"
    );
}

#[test]
fn every_setting_has_an_example() {
    let missing = settings::keys_without_example();
    assert!(
        missing.is_empty(),
        "use these settings in a file of config-examples, or give them an example in the schema:\n{}",
        missing.join("\n")
    );
}

#[test]
fn links_lead_to_files() {
    let mut broken = String::new();
    let mut pages = files(&repository().join("docs/src"), "md");
    pages.push(repository().join("README.md"));
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(path)
            };
            let leads =
                target.exists() && (anchor.is_empty() || anchors(&target).contains(&anchor.to_owned()));
            if !leads {
                writeln!(
                    broken,
                    "{}: {link}",
                    page.strip_prefix(repository()).unwrap().display()
                )
                .unwrap();
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{broken}");
}

#[test]
fn summary_lists_every_page() {
    let book = repository().join("docs/src");
    let summary = std::fs::read_to_string(book.join("SUMMARY.md")).unwrap();
    let unlisted: Vec<String> = files(&book, "md")
        .iter()
        .map(|page| page.strip_prefix(&book).unwrap().to_string_lossy().into_owned())
        .filter(|page| page != "SUMMARY.md" && !summary.contains(&format!("({page})")))
        .collect();
    assert!(unlisted.is_empty(), "not in SUMMARY.md: {unlisted:?}");
}

/// The error tables quote messages; `…` stands for what a message fills in.
#[test]
fn error_tables_quote_messages_of_the_program() {
    let mut source = String::new();
    for file in files(&repository().join("src"), "rs") {
        source += &std::fs::read_to_string(file).unwrap();
    }
    let source = source
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace("\\ ", "");
    let mut unknown = String::new();
    for page in files(&repository().join("docs/src"), "md") {
        let text = std::fs::read_to_string(&page).unwrap();
        for table in text.split("| message contains |").skip(1) {
            let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
            for message in rows.filter_map(|row| row.split('|').nth(1)) {
                let parts = message
                    .split('…')
                    .map(str::trim)
                    .filter(|part| part.contains(' '));
                for part in parts.filter(|part| !source.contains(part)) {
                    writeln!(unknown, "{}: {part}", page.display()).unwrap();
                }
            }
        }
    }
    assert!(unknown.is_empty(), "no message says:\n{unknown}");
}

/// Targets of the relative links of a page, outside of code blocks.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            let link = rest.split([')', ' ']).next().unwrap_or_default();
            if !link.contains("://") && !link.starts_with("mailto:") {
                found.push(link);
            }
        }
    }
    found
}

/// The anchors that mdBook makes of a page's headings.
fn anchors(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
                _ => None,
            });
            kept.collect()
        })
        .collect()
}
