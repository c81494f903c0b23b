//! "Did you mean": the known names that look like a wrong one.

/// Up to three of `known` that resemble `name`, nearest first, case-insensitive.
pub(crate) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let wanted = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let mut score = strsim::jaro_winkler(&wanted, &lower);
            if !wanted.is_empty() && (lower.contains(&wanted) || wanted.contains(&lower)) {
                score = score.max(0.85);
            }
            (score, candidate)
        })
        .filter(|(score, _)| *score >= 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.truncate(3);
    scored.into_iter().map(|(_, candidate)| candidate).collect()
}

/// "did you mean `a`, `b`?", or all of `known` if they are few, or nothing.
pub fn suggestion<'k>(name: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> Option<String> {
    let near = nearest(name, known.clone());
    if !near.is_empty() {
        return Some(format!("did you mean {}?", quoted(near)));
    }
    let all: Vec<&str> = known.into_iter().collect();
    (!all.is_empty() && all.len() <= 20).then(|| format!("known here: {}", quoted(all)))
}

/// The names in backquotes, separated by commas.
pub(crate) fn quoted(names: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    names
        .into_iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
