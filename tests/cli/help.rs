//! The help texts, and wrong usage.

use super::*;

/// Each command with words that its help must contain, separated by `|`: its options, and one example.
const COMMANDS: [(&str, &str); 17] = [
    ("validate", "FILE|--output|hrsink validate hr.yaml|Exit code 2"),
    (
        "preview",
        "FILE|--source|--rows|--show-personal-data|--output|hrsink preview hr.yaml",
    ),
    ("check", "FILE|--output|hrsink check hr.yaml|Exit codes"),
    (
        "run",
        "FILE|--allow|max_rows_per_person|--record|--dry-run|--limit|--report|--rejects|--grace|--no-progress|--output\
         |hrsink run hr.yaml --dry-run",
    ),
    (
        "upload",
        "FILE|--tenant-id|--app-id|--job-id|--client-secret-env|--client-secret-file|--cloud|--resource|--batch-rows|--all\
         |--state|--dry-run|--report|hrsink upload --cloud emulator",
    ),
    (
        "history",
        "FILE|--state|--runs|--run|--batches|--output|hrsink history hr.yaml",
    ),
    ("ledger", "stats|verify|export|resolve|forget|rewind|prune"),
    ("ledger stats", "FILE|--state|--output|hrsink ledger stats"),
    ("ledger verify", "FILE|--state|Exit codes"),
    ("ledger export", "FILE|--runs|jq"),
    (
        "ledger resolve",
        "--run|--batch|--sink|--as|not-accepted|RecordsSaved",
    ),
    ("ledger forget", "--job|--scenario|--yes"),
    ("ledger rewind", "FILE|--source"),
    ("ledger prune", "--older-than|--rows|--dry-run"),
    ("emulator", "--listen|--data|--config|--faults|hrsink emulator"),
    ("scenarios", "NAME|--output|hrsink scenarios employee_resignation"),
    ("schema", "pipeline|report|yaml-language-server"),
];

#[test]
fn help_of_each_command_names_its_options() {
    let folder = Folder::empty();
    for (command, expected) in COMMANDS {
        let args: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let output = folder.run(&args);
        let help = text(&output.stdout);
        for word in expected.split('|') {
            assert!(
                help.contains(word),
                "`{command} --help` does not mention `{word}`:\n{help}"
            );
        }
        assert_eq!(code(&output), 0);
        let wraps = |line: &str| line.starts_with("Usage:") || line.chars().count() <= 100;
        assert!(help.lines().all(wraps), "{help}");
    }
}

#[test]
fn help_of_the_program_lists_commands_and_exit_codes() {
    let folder = Folder::empty();
    let short = folder.run(&[]);
    assert_eq!(
        (code(&short), text(&short.stdout)),
        (2, ""),
        "without arguments it prints its help"
    );
    let long = folder.run(&["--help"]);
    assert_eq!(code(&long), 0);
    for (help, words) in [
        (
            text(&short.stderr),
            &["--log-format", "--color", "--insecure-secret-files"][..],
        ),
        (
            text(&long.stdout),
            &["HRSINK_LOG", "max_ratio", "retrying does not help", "Ctrl-C"],
        ),
    ] {
        let commands = COMMANDS.iter().map(|(command, _)| *command);
        let commands = commands.filter(|command| !command.contains(' '));
        for word in commands.chain(words.iter().copied()) {
            assert!(help.contains(word), "the help does not mention `{word}`:\n{help}");
        }
    }
    let codes: Vec<&str> = text(&long.stdout)
        .lines()
        .skip_while(|line| !line.starts_with("Exit codes"))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(codes[1..], ["0", "1", "2", "3", "4", "5", "75", "130"]);
}

#[test]
fn version_is_printed() {
    let output = Folder::empty().run(&["--version"]);
    assert_eq!(
        text(&output.stdout),
        concat!("hrsink ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn wrong_usage_exits_with_2_and_says_why() {
    let folder = Folder::examples();
    for (args, expected) in [
        (
            &["runn", "quickstart.yaml"][..],
            "a similar subcommand exists: 'run'",
        ),
        (&["run"], "required arguments were not provided"),
        (&["run", "quickstart.yaml", "--limit", "0"], "0 is not in 1.."),
        (
            &["run", "quickstart.yaml", "--allow", "min_row"],
            "a similar value exists: 'min_rows'",
        ),
        (&["history"], "required arguments were not provided"),
        (
            &["scenarios", "resignation"],
            "did you mean `employee_resignation`?",
        ),
    ] {
        let output = folder.run(args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(
            text(&output.stderr).contains(expected),
            "{args:?}: {}",
            printed(&output)
        );
        assert_eq!(text(&output.stdout), "", "{args:?}");
    }
}
