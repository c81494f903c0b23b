//! `validate`, and what other commands say of a wrong file.

use super::*;

const MISTAKES: &str = "\
sorces: {}
sources:
  hr_export:
    type: file
    path: export.csv
    delimiter: ';'
  spare:
    type: file
    path: spare.csv
  purview: {type: fiel, path: x.csv}
transforms:
  one:
    type: hr_schema
    inputs: [hr_exprot, two]
    scenario: employee_resignation
    fields:
      EmailAdress: email
  two: {type: hr_schema, inputs: [one], scenario: resignation}
  three: {type: hr_schema, scenario: employee_resignation, fields: {}}
sinks:
  purview:
    type: m365_hr
    inputs: [one]
    batch: {max_row: 5}
    auth: {type: client_secret, client_id: 29ee526e-f9a7-4e98-a682-67f41bfd643e, client_secret: hunter2-marker}
rejects: {max_ratio: 5}
";

#[test]
fn validate_lists_all_problems_at_once() {
    let folder = Folder::empty();
    folder.write("mistakes.yaml", MISTAKES);
    let output = folder.run(&["validate", "mistakes.yaml"]);
    snapshot!(printed(&output), @r#"
    exit code 2
    --- stdout
    mistakes.yaml: 19 problems
      rejects.max_ratio: ratio out of range: expected 0 to 1, found 5; 20 % is written 0.2
      sources.hr_export.delimiter: unknown key `delimiter`
        hint: known here: `path`, `format`, `compression`, `max_compression_ratio`, `zip`, `pgp`, `select`, `on_success`, `on_failure`, `add_columns`, `azure`, `gcs`, `https`, `s3`, `sftp`
      sources.purview.type: unknown type `fiel`
        hint: did you mean `file`?
      transforms.two.scenario: unknown value `resignation`
        hint: did you mean `employee_resignation`?
      transforms.three: missing required key `inputs`
        hint: name the components whose rows it receives
      sinks.purview.batch.max_row: unknown key `max_row`
        hint: did you mean `max_rows`?
      sinks.purview.auth: a secret must be a reference: `{env: NAME}` or `{file: PATH}`, not text in the file (it is not repeated here)
      sorces: unknown key `sorces`
        hint: did you mean `sources`?
      sinks.purview: duplicate name `purview`: another component in `sources` has it
      transforms.one.inputs[0]: unknown component `hr_exprot`
        hint: did you mean `hr_export`?
      sources.hr_export: no component receives its rows
        hint: add it to the `inputs` of a component, or remove `hr_export`
      sources.spare: no component receives its rows
        hint: add it to the `inputs` of a component, or remove `spare`
      sources.purview: no component receives its rows
        hint: add it to the `inputs` of a component, or remove `purview`
      transforms.three: no component receives its rows
        hint: add it to the `inputs` of a component, or remove `three`
      transforms.one.inputs: the inputs form a cycle: `one` ← `two` ← `one`
      transforms.one.fields.EmailAdress: the scenario employee_resignation has no field `EmailAdress`
        hint: did you mean `EmailAddress`?
      transforms.one.fields.EmailAddress: `EmailAddress` is missing: the scenario employee_resignation requires it
        hint: add an SQL expression for it: user principal name (UPN) of the person in Microsoft Entra ID
      transforms.one.fields.ResignationDate: `ResignationDate` is missing: the scenario employee_resignation requires it
        hint: add an SQL expression for it: when notice was given
      transforms.one.fields.LastWorkingDate: `LastWorkingDate` is missing: the scenario employee_resignation requires it
        hint: add an SQL expression for it: the last day of work
    "#);
    assert!(!printed(&output).contains("hunter2"), "a secret was repeated");
}

#[test]
fn run_prints_the_same_problems_before_reading() {
    let folder = Folder::empty();
    folder.write("mistakes.yaml", "sources: {a: {type: file, path: a.csv}}\n");
    snapshot!(printed(&folder.run(&["run", "mistakes.yaml"])), @r#"
    exit code 2
    --- stderr
    error: the pipeline file `mistakes.yaml` has 2 problems
      sinks: a pipeline needs at least one sink
        hint: to print rows instead of sending them, add `{type: console, inputs: […]}`
      sources.a: no component receives its rows
        hint: add it to the `inputs` of a component, or remove `a`
    "#);
}

#[test]
fn validates_every_example() {
    let folder = Folder::examples();
    let files: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".toml"))
        .collect();
    let args: Vec<&str> = std::iter::once("validate")
        .chain(files.iter().map(String::as_str))
        .collect();
    let output = folder.run(&args);
    assert_eq!(code(&output), 0, "{}", printed(&output));
}

#[test]
fn validate_prints_json() {
    let folder = Folder::empty();
    folder.write(
        "good.yaml",
        "sources: {a: {type: file, path: a.csv}}\nsinks: {b: {type: console, inputs: a}}\n",
    );
    folder.write(
        "bad.yaml",
        "sources: {a: {type: file, path: a.csv}}\nsinks: {b: {type: console, inputs: [c]}}\n",
    );
    snapshot!(printed(&folder.run(&["validate", "--output", "json", "good.yaml", "bad.yaml", "none.yaml", "x.txt"])), @r#"
    exit code 2
    --- stdout
    [
      {
        "file": "good.yaml",
        "valid": true,
        "problems": []
      },
      {
        "file": "bad.yaml",
        "valid": false,
        "problems": [
          {
            "path": "sinks.b.inputs[0]",
            "message": "unknown component `c`",
            "hint": "known here: `a`"
          },
          {
            "path": "sources.a",
            "message": "no component receives its rows",
            "hint": "add it to the `inputs` of a component, or remove `a`"
          }
        ]
      },
      {
        "file": "none.yaml",
        "valid": false,
        "problems": [
          {
            "path": "",
            "message": "cannot read the pipeline file `none.yaml`: No such file or directory (os error 2)"
          }
        ]
      },
      {
        "file": "x.txt",
        "valid": false,
        "problems": [
          {
            "path": "",
            "message": "unknown extension of the pipeline file `x.txt`",
            "hint": "name it `.yaml`, `.yml`, `.toml` or `.json`"
          }
        ]
      }
    ]
    "#);
}

#[test]
fn validate_warns_about_probable_mistakes() {
    let folder = Folder::examples();
    let text = std::fs::read_to_string(folder.path().join("profiles.yaml")).unwrap();
    let text = text.replace(
        "    path: data/profiles.ndjson",
        "    path: data/profiles.ndjson\n    select: {incremental: true}",
    );
    folder.write("once.yaml", &text);
    let output = folder.run(&["validate", "once.yaml", "profiles.yaml"]);
    assert_eq!(code(&output), 0);
    let printed = self::text(&output.stdout);
    assert!(
        printed.contains("once.yaml: valid\n  warning: the sink `purview` must receive unchanged rows of `profiles` again after 20days"),
        "{printed}"
    );
    assert!(printed.ends_with("profiles.yaml: valid\n"), "{printed}");
    let output = folder.run(&["validate", "once.yaml", "--output", "json"]);
    assert!(self::text(&output.stdout).contains("\"warnings\""));
}
