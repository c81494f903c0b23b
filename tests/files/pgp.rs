//! OpenPGP: files that GnuPG made arrive, and those that are not to be taken do not.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::common::{Pipeline, arrived, email, emails, emulator, failure};
use crate::outside;

const PASSPHRASE: &str = "planted-passphrase";

/// GnuPG with our key and those of two senders, and a pipeline that asks for the first one's signature.
struct Stand {
    pipeline: Pipeline,
    home: tempfile::TempDir,
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--kill", "all"])
            .status();
    }
}

impl Stand {
    fn new(url: &str) -> Self {
        let source = json!({
            "type": "file",
            "path": "in/*.csv.pgp",
            "pgp": {
                "keys": [{"key": {"file": "hr-import.key"}, "passphrase": {"file": "passphrase"}}],
                "signed_by": ["payroll.asc"],
            },
        });
        let stand = Self {
            pipeline: crate::pipeline(url, source),
            home: tempfile::tempdir().unwrap(),
        };
        std::fs::write(stand.home.path().join("gpg-agent.conf"), "s2k-count 65536\n").unwrap();
        std::fs::create_dir(stand.pipeline.path("in")).unwrap();
        for (user, passphrase) in [
            ("hr-import@contoso.com", PASSPHRASE),
            ("payroll@fabrikam.example", ""),
            ("somebody@fabrikam.example", ""),
        ] {
            stand.gpg(&[
                "--passphrase",
                passphrase,
                "--quick-gen-key",
                user,
                "ed25519",
                "sign",
                "never",
            ]);
            let listed = String::from_utf8(stand.gpg(&["--with-colons", "--list-keys", user])).unwrap();
            let fingerprint = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
            let fingerprint = fingerprint.split(':').nth(9).unwrap();
            stand.gpg(&[
                "--passphrase",
                passphrase,
                "--quick-add-key",
                fingerprint,
                "cv25519",
                "encr",
                "never",
            ]);
        }
        let key = stand.gpg(&[
            "--passphrase",
            PASSPHRASE,
            "--armor",
            "--export-secret-keys",
            "hr-import@contoso.com",
        ]);
        stand
            .pipeline
            .write("hr-import.key", &String::from_utf8(key).unwrap());
        stand.pipeline.write("passphrase", PASSPHRASE);
        let public = stand.gpg(&["--armor", "--export", "payroll@fabrikam.example"]);
        stand
            .pipeline
            .write("payroll.asc", &String::from_utf8(public).unwrap());
        stand
    }

    fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .arg("--homedir")
            .arg(self.home.path())
            .args([
                "--batch",
                "--yes",
                "--no-tty",
                "--pinentry-mode",
                "loopback",
                "--trust-model",
                "always",
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("GnuPG is not installed, and HRSINK_TEST_SERVERS asks for it");
        assert!(
            output.status.success(),
            "gpg {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// A file of these rows, which GnuPG packs for us.
    fn put(&self, name: &str, rows: std::ops::RangeInclusive<usize>, arguments: &[&str]) {
        let mut csv = "upn,resigned,last_day\n".to_owned();
        for row in rows {
            csv.push_str(&format!(
                "{},2026-03-02T09:00:00Z,2026-04-01T00:00:00Z\n",
                email(row)
            ));
        }
        self.pipeline.write("content", &csv);
        let (from, to) = (self.pipeline.path("content"), self.pipeline.path("in").join(name));
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let (from, to) = (path(&from), path(&to));
        let common = ["--output", &to, "-r", "hr-import@contoso.com"];
        self.gpg(&[&common, arguments, &["--encrypt", &from]].concat());
    }
}

#[tokio::test]
async fn files_that_gnupg_signed_and_encrypted_arrive() {
    if !outside::wanted("GnuPG") {
        return;
    }
    let emulator = emulator("").await;
    let stand = Stand::new(&emulator.url());
    stand.put("a.csv.pgp", 1..=3, &["-u", "payroll@fabrikam.example", "--sign"]);
    stand.put(
        "b.csv.pgp",
        4..=5,
        &["-u", "payroll@fabrikam.example", "--sign", "--armor"],
    );
    let report = stand.pipeline.run().await;
    assert_eq!(report.exit_code, 0, "{report:#?}");
    assert_eq!(arrived(&emulator), emails(5));
}

#[tokio::test]
async fn nothing_is_sent_of_a_file_without_the_right_signature() {
    if !outside::wanted("GnuPG") {
        return;
    }
    for (arguments, expected) in [
        (&[][..], "is not signed"),
        (
            &["-u", "somebody@fabrikam.example", "--sign"],
            "not in `pgp.signed_by`",
        ),
    ] {
        let emulator = emulator("").await;
        let stand = Stand::new(&emulator.url());
        stand.put("a.csv.pgp", 1..=3, arguments);
        let report = stand.pipeline.run().await;
        let shown = format!("{:?}", failure(&report, 2));
        assert!(shown.contains(expected) && shown.contains("a.csv.pgp"), "{shown}");
        assert!(!shown.contains("planted") && !shown.contains("user0"), "{shown}");
        assert_eq!((report.rows.read, arrived(&emulator)), (0, vec![]));
    }
}
