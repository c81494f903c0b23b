//! `list`, `scenarios` and `schema`.

use super::*;

#[test]
fn list_names_every_component() {
    let folder = Folder::empty();
    snapshot!(printed(&folder.run(&["list"])), @r#"
    exit code 0
    --- stdout
    sources
      file  reads files on the local disk, in remote storage or from standard input
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
      az://, abfs://, abfss://  Azure Blob Storage
      gs://                     Google Cloud Storage
      https://, http://         web servers
      s3://, s3a://             Amazon S3 and S3-compatible stores
      sftp://                   SFTP servers
    compression and encryption
      gzip  compression
      zstd  compression
      zip   archives of one or several files
      pgp   OpenPGP encryption and signatures
    "#);
    let listed = folder.json(&["list", "--output", "json"]);
    let mut components = listed.as_array().unwrap().iter();
    assert!(
        components.any(|c| c["role"] == "sink" && c["name"] == "m365_hr"),
        "{listed}"
    );
}

#[test]
fn scenarios_lists_fields() {
    let folder = Folder::empty();
    snapshot!(printed(&folder.run(&["scenarios", "employee_resignation"])), @r#"
    exit code 0
    --- stdout
    employee_resignation  employee resignation
      value of the scenario column: Resignation
      used by: data theft by departing users; security policy violations by departing users
      EmailAddress     required  upn       user principal name (UPN) of the person in Microsoft Entra ID (also: UserPrincipalName)
      ResignationDate  required  datetime  when notice was given (also: TerminationDate)
      LastWorkingDate  required  datetime  the last day of work
    "#);
    let all = printed(&folder.run(&["scenarios"]));
    let json = folder.json(&["scenarios", "--output", "json"]);
    assert_eq!(json.as_array().unwrap().len(), 5);
    for scenario in json.as_array().unwrap() {
        for key in ["name", "title", "documented_identifier"] {
            assert!(all.contains(scenario[key].as_str().unwrap()), "{scenario}\n{all}");
        }
        for field in scenario["fields"].as_array().unwrap() {
            let (name, summary) = (
                field["name"].as_str().unwrap(),
                field["summary"].as_str().unwrap(),
            );
            assert!(all.contains(name) && all.contains(summary), "{field}\n{all}");
        }
    }
    assert_eq!(json[1]["fields"][2]["max_chars"], 200);
    assert!(all.contains("text, at most 200 characters"), "{all}");
}

#[test]
fn schema_accepts_examples_and_rejects_unknown_keys() {
    let folder = Folder::empty();
    let schema = folder.json(&["schema"]);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut seen = 0;
    let folders = [examples(), examples().join("hris")];
    for entry in folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
    {
        let path = entry.unwrap().path();
        let read = || std::fs::read_to_string(&path).unwrap();
        let tree: serde_json::Value = match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") => serde_saphyr::from_str(&read()).unwrap(),
            Some("toml") => toml::from_str(&read()).unwrap(),
            _ => continue,
        };
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
    assert!(seen > 10, "{seen} examples");
}
