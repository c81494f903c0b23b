//! The help texts, and wrong usage.

use super::*;

/// The help of a command without the options that all commands have.
fn help(command: &str) -> String {
    let told = told(&Folder::empty().run(&[command, "--help"]));
    let mut global = false;
    told.lines()
        .filter(|line| {
            global =
                line.starts_with("Global options") || (global && (line.is_empty() || line.starts_with(' ')));
            !global
        })
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn without_arguments_it_helps() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&[])), @r#"
    exit code 2
    --- stderr
    Brings HR records into Microsoft 365's HR connector

    Usage: hrsink [OPTIONS] <COMMAND>

    Commands:
      validate   Check pipeline files without network, secrets or input
      preview    Show what would be sent, without sending it
      check      Ask the other sides whether a run could read and deliver, without sending a row
      run        Run a pipeline once
      upload     Upload CSV files as they are, without a pipeline file
      history    Show past runs and their batches
      ledger     Inspect and maintain the ledger
      emulator   Stand in for Microsoft's token endpoint and HR connector job on this machine
      list       List the component types a pipeline file can use
      scenarios  Show the HR scenarios and their fields
      schema     Print the JSON Schema of a pipeline file, or of a run report
      help       Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help (see more with '--help')
      -V, --version  Print version

    Global options:
          --color <WHEN>           When to use colours: auto, always or never; `NO_COLOR` is respected
                                   [default: auto]
          --log-level <LEVEL>      The least severe log lines on standard error: error, warn, info,
                                   debug or trace [default: warn; with `--log-format json`: info] [env:
                                   HRSINK_LOG]
          --log-format <FORMAT>    The form of log lines: text or json (one object a line, errors
                                   included) [default: text]
          --insecure-secret-files  Take secret files that others than their owner have rights to, with a
                                   warning [env: HRSINK_INSECURE_SECRET_FILES]

    See `hrsink --help` for the usual order of commands and the exit codes.
    "#);
}

#[test]
fn the_long_help_teaches_the_order_and_the_exit_codes() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["--help"])), @r#"
    exit code 0
    --- stdout
    Brings HR records into Microsoft 365's HR connector.

    A pipeline file says where the records are, how their columns become the fields of Microsoft's HR
    schema, and which connector job they go to. `hrsink` checks it, shows what would be sent, and sends
    it.

    Usage: hrsink [OPTIONS] <COMMAND>

    Commands:
      validate   Check pipeline files without network, secrets or input
      preview    Show what would be sent, without sending it
      check      Ask the other sides whether a run could read and deliver, without sending a row
      run        Run a pipeline once
      upload     Upload CSV files as they are, without a pipeline file
      history    Show past runs and their batches
      ledger     Inspect and maintain the ledger
      emulator   Stand in for Microsoft's token endpoint and HR connector job on this machine
      list       List the component types a pipeline file can use
      scenarios  Show the HR scenarios and their fields
      schema     Print the JSON Schema of a pipeline file, or of a run report
      help       Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Global options:
          --color <WHEN>
              When to use colours: auto, always or never; `NO_COLOR` is respected

              [default: auto]

          --log-level <LEVEL>
              The least severe log lines on standard error: error, warn, info, debug or trace [default:
              warn; with `--log-format json`: info]

              [env: HRSINK_LOG]

          --log-format <FORMAT>
              The form of log lines: text or json (one object a line, errors included)

              [default: text]

          --insecure-secret-files
              Take secret files that others than their owner have rights to, with a warning

              [env: HRSINK_INSECURE_SECRET_FILES]

    The usual order:
      hrsink validate hr.yaml            is the file right?          (no network, no secrets)
      hrsink preview hr.yaml             what would be sent?         (reads the input)
      hrsink check hr.yaml               would Microsoft take it?    (sends no rows)
      hrsink run hr.yaml --dry-run       everything but sending
      hrsink run hr.yaml                 the run, by hand or by a scheduler
      hrsink history hr.yaml             what past runs did

    Exit codes:
        0  delivered, or nothing to do
        1  an unexpected failure; please report it
        2  the command line, the pipeline file or the input is wrong
        3  delivered, but more rows were rejected than `rejects.max_ratio` allows
        4  a guard stopped the run before anything was sent, or a batch of unknown outcome is held
        5  refused by the service: credentials, consent, job; no retry will help
       75  not everything was delivered (or another run is under way); the next run sends the rest
      130  interrupted (Ctrl-C); 143 terminated (SIGTERM)
    "#);
}

#[test]
fn help_of_run() {
    snapshot!(help("run"), @r#"
    exit code 0
    --- stdout
    Run a pipeline once

    Reads the sources, maps the rows and delivers them. Rows that cannot be delivered are put aside with
    a reason, and the others go on. The exit code tells a scheduler whether to try again later (75) or
    to call a person (2, 3, 4, 5); `hrsink --help` lists them all.

    Ctrl-C or SIGTERM stops the run gently: reading ends at once, uploads in flight have the grace
    period to finish, the report is written. A second one stops it at once.

    Usage: hrsink run [OPTIONS] <FILE>

    Arguments:
      <FILE>
              The pipeline file (YAML, TOML or JSON)

    Options:
          --allow <GUARD>
              Let this run through although it breaks this guard, such as `max_rows`; may be given
              several times. Written into the ledger

              Possible values:
              - min_rows:            Too few rows
              - max_rows:            Too many rows
              - max_shrink:          Too many fewer rows than the last time
              - max_growth:          Too many more rows than the last time
              - max_reject_ratio:    Too large a share of the rows put aside
              - max_rows_per_person: Too many rows of one person

          --record <DIR>
              Store what HR systems answer under this folder, for a support case: a file a page, with
              values masked. Of a text only its form stays (`xxxx@xxxxxxx.xxx`, `9999-99-99`), of a URL
              and of headers what tells of paging and limits; the names of keys stay. Off unless asked
              for; look through the files before you pass them on

          --dry-run
              Do everything but send: batches are cut, nothing leaves this machine

          --limit <ROWS>
              Read at most so many rows of each source

          --report <PATH>
              Also write the run report to this file, as JSON, whatever happens

          --rejects <PATH>
              Write rejected rows to this file (NDJSON) instead of a new one in the folder
              `rejects.path`; made with the first of them

          --grace <DURATION>
              How long uploads in flight may take after an interrupt, such as 30s or 2m

              [default: 30s]

          --no-progress
              Show no progress line; without a terminal there is none anyway

          --output <FORMAT>
              Print what the run did for a person (text) or as the run report (json)

              [default: text]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      hrsink run hr.yaml
      hrsink run hr.yaml --dry-run
      hrsink run hr.yaml --report report.json --log-format json
      hrsink run hr.yaml --dry-run --record support
    "#);
}

#[test]
fn help_of_validate() {
    snapshot!(help("validate"), @r#"
    exit code 0
    --- stdout
    Check pipeline files without network, secrets or input

    Prints every problem of every file at once, each with the path of its key. Reads environment
    variables, since `${NAME}` in a file stands for them; opens nothing else that a file names.

    Usage: hrsink validate [OPTIONS] <FILE>...

    Arguments:
      <FILE>...
              The pipeline files (YAML, TOML or JSON)

    Options:
          --output <FORMAT>
              Print for a person (text) or for a program (json)

              [default: text]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      hrsink validate hr.yaml
      hrsink validate pipelines/*.yaml --output json

    Exit code 2 if any file has a problem.
    "#);
}

#[test]
fn help_of_preview() {
    snapshot!(help("preview"), @r#"
    exit code 0
    --- stdout
    Show what would be sent, without sending it

    Reads the sources until each transform has given enough rows, and shows them as a table, with the
    rows that were rejected and why. Personal data is masked: of an address its first character and its
    domain are shown, of other text its form (`Xxxxx 99`); dates of the HR schema stay. Nothing leaves
    this machine, and sources are left as they were.

    With `--source`, shows the first records of that source, its columns with their types, and a
    `transforms:` block to begin with: the likeliest column for each HR field. The rest of the file may
    be wrong or not there yet.

    Usage: hrsink preview [OPTIONS] <FILE>

    Arguments:
      <FILE>
              The pipeline file (YAML, TOML or JSON)

    Options:
          --source <NAME>
              Look at this source alone, and suggest a mapping of its columns

          --rows <ROWS>
              How many rows of each transform, or of the source, and how many rejects, to show

              [default: 10]

          --show-personal-data
              Show values as they are

          --output <FORMAT>
              Print tables (table) or a JSON object a line (ndjson)

              [default: table]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      hrsink preview hr.yaml
      hrsink preview hr.yaml --rows 3 --show-personal-data
      hrsink preview hr.yaml --output ndjson
      hrsink preview hr.yaml --source hr_export

    Exit code 0 even if rows were rejected.
    "#);
}

#[test]
fn help_of_check() {
    snapshot!(help("check"), @r#"
    exit code 0
    --- stdout
    Ask the other sides whether a run could read and deliver, without sending a row

    For each source of files: can its place be reached, is the server the one that is known, does the
    login work, which files are there? For each sink: is the secret there, does Microsoft Entra give a
    token for it, can the endpoint be reached through the firewall, is this machine's clock right? Says
    of each what was found, and what to do about what fails.

    Usage: hrsink check [OPTIONS] <FILE>

    Arguments:
      <FILE>
              The pipeline file (YAML, TOML or JSON)

    Options:
          --output <FORMAT>
              Print for a person (text) or for a program (json)

              [default: text]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      hrsink check hr.yaml
      hrsink check hr.yaml --output json

    Exit codes: 0 nothing fails; 5 something fails until a person changes it; 75 something fails for a
    passing cause; 2 the pipeline file is wrong.
    "#);
}

#[test]
fn help_of_upload() {
    snapshot!(help("upload"), @r#"
    exit code 0
    --- stdout
    Upload CSV files as they are, without a pipeline file

    Does what Microsoft's sample script does: the files already have the columns and values that were
    mapped when the connector was made in the portal, and are uploaded column for column. Rows are kept
    whole, line breaks inside quotes included. Nothing in them is checked; a pipeline file with an
    `hr_schema` transform does that.

    A ledger remembers which rows the job has accepted, and a later upload sends only the others;
    `--all` sends every row. It is kept in the current folder unless `--state` says otherwise: always
    give the same one.

    Usage: hrsink upload [OPTIONS] <FILE>...

    Arguments:
      <FILE>...
              The files: CSV (or TSV, Parquet, JSON by extension), `.gz` and `.zst` too

    Options:
          --tenant-id <ID>
              The Microsoft Entra tenant: its id or one of its domains

          --app-id <ID>
              The client id of the app made for the connector

          --job-id <ID>
              The id of the connector job, as the portal shows it

          --client-secret-env <NAME>
              The environment variable that holds the app's client secret [default:
              `HRSINK_CLIENT_SECRET`]

          --client-secret-file <PATH>
              The file that holds the app's client secret; `-` reads it from the first line of standard
              input

          --cloud <NAME>
              Which Microsoft endpoints: `worldwide`, `gcc`, `gcc_high`, `dod`, or `emulator`, which
              needs no ids [default: worldwide]

          --resource <URI>
              What a token is asked for, where the script in the portal's instructions has another
              `resource` than the current one

          --batch-rows <ROWS>
              Rows of an upload, at most

              [default: 5000]

          --all
              Send rows that the job has accepted before, too

          --state <PATH>
              The ledger: what was sent, with its key and locks beside it

              [default: .hrsink/state.db]

          --dry-run
              Do everything but send: batches are cut, nothing leaves this machine

          --limit <ROWS>
              Read at most so many rows of each source

          --report <PATH>
              Also write the run report to this file, as JSON, whatever happens

          --rejects <PATH>
              Write rejected rows to this file (NDJSON) instead of a new one in the folder
              `rejects.path`; made with the first of them

          --grace <DURATION>
              How long uploads in flight may take after an interrupt, such as 30s or 2m

              [default: 30s]

          --no-progress
              Show no progress line; without a terminal there is none anyway

          --output <FORMAT>
              Print what the run did for a person (text) or as the run report (json)

              [default: text]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      hrsink upload --cloud emulator terminations.csv
      HRSINK_CLIENT_SECRET=… hrsink upload \
        --tenant-id d5723623-11cf-4e2e-b5a5-01d1506273f9 \
        --app-id 29ee526e-f9a7-4e98-a682-67f41bfd643e \
        --job-id b8be4a7d-e338-43eb-a69e-c513cd458eba \
        terminations.csv
    "#);
}

#[test]
fn help_of_emulator() {
    snapshot!(help("emulator"), @r#"
    exit code 0
    --- stdout
    Stand in for Microsoft's token endpoint and HR connector job on this machine

    Takes uploads as a connector job does, checks them and keeps the rows. Faults can be injected, to
    see how a pipeline copes with throttling, lost answers and outages. It runs until Ctrl-C. For a
    single pipeline `cloud: emulator` starts one inside the run; this command is for several programs,
    or for Microsoft's own script.

    Usage: hrsink emulator [OPTIONS]

    Options:
          --listen <ADDRESS>
              Where to listen; port 0 takes a free one [default: 127.0.0.1:8099]

          --data <DIR>
              Folder for the accepted rows and the import log [default: they are kept in memory]

          --config <FILE>
              A file (YAML) with the apps, jobs and limits to emulate; without one every app and job is
              taken

          --faults <SPEC>
              What goes wrong on purpose, such as `429=0.1,latency=50ms`

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      hrsink emulator
      hrsink emulator --listen 127.0.0.1:0 --data emulator-data
      hrsink emulator --faults 429=0.1,drop_after=first:1,latency=50ms
    "#);
}

#[test]
fn help_of_list_scenarios_and_schema() {
    let folder = Folder::empty();
    for command in ["list", "scenarios", "schema"] {
        let output = folder.run(&[command, "--help"]);
        assert_eq!(code(&output), 0);
        assert!(
            text(&output.stdout).contains(&format!("  hrsink {command}")),
            "an example"
        );
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let folder = Folder::empty();
    snapshot!(told(&folder.run(&["rnu", "hr.yaml"])), @r#"
    exit code 2
    --- stderr
    error: unrecognized subcommand 'rnu'

    Usage: hrsink [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "#);
    assert_eq!(code(&folder.run(&["run"])), 2);
    assert_eq!(code(&folder.run(&["run", "hr.yaml", "--limit", "0"])), 2);
    assert_eq!(code(&folder.run(&["run", "hr.yaml", "--grace", "30"])), 2);
}
