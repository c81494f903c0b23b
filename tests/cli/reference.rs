//! `list`, `scenarios` and `schema`.

use super::*;

#[test]
fn list_names_every_component() {
    let folder = Folder::empty();
    snapshot!(printed(&folder.run(&["list"])), @r#"
    exit code 0
    --- stdout
    sources
      file  reads CSV, Parquet, NDJSON and JSON files: local, SFTP, S3, Azure Blob, Google Cloud Storage, HTTPS, standard input
      rest  reads a REST API: pages, parent and child requests, incrementally
    transforms
      hr_schema  maps records to the rows of an HR scenario with SQL expressions
      sql        runs one SQL query over its inputs as tables: joins, windows, unions
    sinks
      console  prints rows to standard output, as a table or as NDJSON
      file     writes CSV exactly as it would be uploaded
      m365_hr  uploads rows to a Microsoft 365 HR connector job
    file formats
      csv      rows of text with a separator; every column is text
      json     a JSON array of objects, or one object
      ndjson   a JSON object on each line
      parquet  columns with types; compressed inside at most
    storage backends
      PATH, -                   local disk, standard input
      sftp://                   SFTP servers
      s3://, s3a://             Amazon S3 and S3-compatible stores
      az://, abfs://, abfss://  Azure Blob Storage
      gs://                     Google Cloud Storage
      https://, http://         web servers
    compression and encryption
      gzip  compression
      zstd  compression
      zip   archives of one or several files
      pgp   OpenPGP encryption and signatures
    "#);
    let listed: serde_json::Value =
        serde_json::from_slice(&folder.run(&["list", "--output", "json"]).stdout).unwrap();
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["role"] == "sink" && c["name"] == "m365_hr"),
        "{listed}"
    );
}

#[test]
fn scenarios_lists_fields() {
    let folder = Folder::empty();
    snapshot!(printed(&folder.run(&["scenarios"])), @r#"
    exit code 0
    --- stdout
    employee_resignation  employee resignation
      value of the scenario column: Resignation
      used by: data theft by departing users; security policy violations by departing users
      EmailAddress     required  upn       user principal name (UPN) of the person in Microsoft Entra ID (also: UserPrincipalName)
      ResignationDate  required  datetime  when notice was given (also: TerminationDate)
      LastWorkingDate  required  datetime  the last day of work

    job_level_change  job level change
      value of the scenario column: Job level change
      used by: data leaks by risky users; security policy violations by risky users
      EmailAddress   required  upn                           user principal name (UPN) of the person in Microsoft Entra ID (also: UserPrincipalName)
      EffectiveDate  required  datetime                      when the change takes effect
      Remarks        optional  text, at most 200 characters  what was said about the change
      OldLevel       optional  text                          job level before, in the company's own words
      NewLevel       optional  text                          job level after, in the company's own words

    performance_review  performance review
      value of the scenario column: Performance review
      used by: data leaks by risky users; security policy violations by risky users
      EmailAddress   required  upn                           user principal name (UPN) of the person in Microsoft Entra ID (also: UserPrincipalName)
      EffectiveDate  required  datetime                      when the review took effect
      Remarks        optional  text, at most 200 characters  what was said in the review
      Rating         optional  text, at most 25 characters   the rating given, in the company's own words

    performance_improvement_plan  performance improvement plan
      value of the scenario column: Performance improvement plan
      used by: data leaks by risky users; security policy violations by risky users
      EmailAddress   required  upn                           user principal name (UPN) of the person in Microsoft Entra ID (also: UserPrincipalName)
      EffectiveDate  required  datetime                      when the plan took effect
      Remarks        optional  text, at most 200 characters  what was said about the plan (also: ImprovementRemarks)
      Rating         optional  text, at most 25 characters   the rating given, in the company's own words (also: PerformanceRating)

    employee_profile  employee profile
      value of the scenario column: Employee profile
      used by: health record misuse
      EmailAddress          required  upn   user principal name (UPN) of the person in Microsoft Entra ID (also: UserPrincipalName)
      EmployeeFirstName     required  text  first name
      EmployeeLastName      required  text  last name
      EmployeeAddressLine1  required  text  home address, first line (also: EmployeeAddLine1)
      EmployeeAddressLine2  optional  text  home address, second line (also: EmployeeAddLine2)
      EmployeeCity          optional  text  city of the home address
      EmployeeState         optional  text  state of the home address
      EmployeeZipCode       required  text  postal code of the home address; leading zeros matter
      EmployeeCountry       optional  text  country of the home address
      EmployeeDepartment    optional  text  department (also: EmployeeDept)
      EmployeeType          optional  text  kind of employment
      EmployeeRole          optional  text  role
    "#);
}

#[test]
fn scenarios_prints_json() {
    let folder = Folder::empty();
    snapshot!(printed(&folder.run(&["scenarios", "employee_resignation", "--output", "json"])), @r#"
    exit code 0
    --- stdout
    [
      {
        "name": "employee_resignation",
        "title": "employee resignation",
        "documented_identifier": "Resignation",
        "policy_templates": [
          "data theft by departing users",
          "security policy violations by departing users"
        ],
        "fields": [
          {
            "name": "EmailAddress",
            "kind": "upn",
            "required": true,
            "aliases": [
              "UserPrincipalName"
            ],
            "summary": "user principal name (UPN) of the person in Microsoft Entra ID"
          },
          {
            "name": "ResignationDate",
            "kind": "datetime",
            "required": true,
            "aliases": [
              "TerminationDate"
            ],
            "summary": "when notice was given"
          },
          {
            "name": "LastWorkingDate",
            "kind": "datetime",
            "required": true,
            "aliases": [],
            "summary": "the last day of work"
          }
        ]
      }
    ]
    "#);
    snapshot!(printed(&folder.run(&["scenarios", "resignation"])), @r#"
    exit code 2
    --- stderr
    error: unknown scenario `resignation`
    hint: did you mean `employee_resignation`?
    "#);
}

#[test]
fn schema_accepts_examples_and_rejects_unknown_keys() {
    let folder = Folder::empty();
    let schema: serde_json::Value = serde_json::from_slice(&folder.run(&["schema"]).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let Ok(notation) = hrsink::config::document::Notation::of(&path) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).unwrap();
        let tree = hrsink::config::document::parse(&text, notation, &path).unwrap();
        let problems: Vec<String> = validator
            .iter_errors(&tree)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(problems.is_empty(), "{}: {problems:#?}", path.display());
        let mut wrong = tree.clone();
        for sink in wrong["sinks"].as_object_mut().unwrap().values_mut() {
            sink["no_such_key"] = true.into();
        }
        assert!(!validator.is_valid(&wrong), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 5, "{seen} examples");
}
