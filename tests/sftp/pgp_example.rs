//! `config-examples/sftp-pgp.yaml`, unchanged: a password, a file made by GnuPG, a marker, an archive.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::pipeline::{EXPORT, age, example, program};
use crate::sshd::{Account, Sshd};
use crate::{needs_root, needs_sshd};

/// GnuPG with a folder of its own.
struct Gpg(tempfile::TempDir);

impl Gpg {
    fn run(&self, args: &[&str]) -> Vec<u8> {
        const OPTIONS: &str = "--batch --yes --quiet --pinentry-mode loopback --trust-model always";
        let output = Command::new("gpg")
            .env("GNUPGHOME", self.0.path())
            .args(OPTIONS.split(' '))
            .args(args)
            .output()
            .expect("GnuPG is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {args:?}: {said}");
        output.stdout
    }

    /// With a key of HR, which decrypts, and one of the vendor, which signs.
    fn with_keys() -> Self {
        let gpg = Self(tempfile::tempdir().unwrap());
        std::fs::set_permissions(gpg.0.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let generate = |passphrase: &str, args: &[&str]| {
            gpg.run(&[&["--passphrase", passphrase], args].concat());
        };
        generate(
            PASSPHRASE,
            &["--quick-generate-key", HR, "rsa2048", "default", "never"],
        );
        // That one only signs: another is added to encrypt.
        let listed = String::from_utf8(gpg.run(&["--list-keys", "--with-colons", HR])).unwrap();
        let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:"));
        let fingerprint = fingerprint.unwrap().trim_matches(':');
        generate(
            PASSPHRASE,
            &["--quick-add-key", fingerprint, "rsa2048", "encr", "never"],
        );
        generate("", &["--quick-generate-key", VENDOR, "ed25519", "sign", "never"]);
        gpg
    }

    /// Encrypts a compressed export into `to`.
    fn encrypt(&self, to: &Path, is_signed: bool) {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut gz, EXPORT.as_bytes()).unwrap();
        let plain = self.0.path().join("terminations.csv.gz");
        std::fs::write(&plain, gz.finish().unwrap()).unwrap();
        let mut args = vec!["--recipient", HR, "--passphrase", "", "--encrypt"];
        if is_signed {
            args.extend(["--local-user", VENDOR, "--sign"]);
        }
        args.extend(["--output", to.to_str().unwrap(), plain.to_str().unwrap()]);
        self.run(&args);
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .env("GNUPGHOME", self.0.path())
            .args(["--kill", "all"])
            .status();
    }
}

const PASSPHRASE: &str = "open sesame";
const HR: &str = "hr@contoso.com";
const VENDOR: &str = "vendor@contoso.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_the_example_with_encrypted_files() {
    needs_root!("the example with encrypted files");
    let gpg = Gpg::with_keys();
    let (sshd, account) = (Sshd::start(), Account::make());
    let (name, unsigned) = (
        "terminations-20260304.csv.gz.pgp",
        "terminations-20260305.csv.gz.pgp",
    );
    for file in [name, unsigned] {
        let path = sshd.write(&format!("outbound/{file}"), "");
        gpg.encrypt(&path, file == name);
        age(&path);
    }
    let add_marker = |file: &str| age(&sshd.write(&format!("outbound/{file}.done"), ""));
    add_marker(name);
    let outbound = sshd.path("files/outbound");
    account.owns(&outbound);

    let folder = example(&sshd, "sftp-pgp.yaml");
    let vendor = gpg.run(&["--armor", "--export", VENDOR]);
    std::fs::write(folder.path().join("vendor.asc"), vendor).unwrap();
    let key = folder.path().join("hr-key.asc");
    let export = ["--passphrase", PASSPHRASE, "--armor", "--export-secret-keys", HR];
    std::fs::write(&key, gpg.run(&export)).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let environment = [
        ("SFTP_HOST", format!("127.0.0.1:{}", sshd.port)),
        ("SFTP_FOLDER", outbound.display().to_string()),
        ("SFTP_USER", account.name.clone()),
        ("SFTP_PASSWORD", account.password.clone()),
        ("PGP_KEY_FILE", key.display().to_string()),
        ("PGP_PASSPHRASE", PASSPHRASE.to_owned()),
    ];
    let run = || program(folder.path(), "sftp-pgp.yaml", &environment);
    let exists = |file: &str| outbound.join(file).exists();
    let (code, report, told) = run();
    assert_eq!(code, 0, "{told}");
    assert_eq!(report["rows"]["accepted"], 2, "{report:#}");
    let run_id = report["run_id"].as_str().unwrap();
    assert!(exists(&format!("archive/{name}-{run_id}")), "{told}");
    assert!(!exists(name) && !exists(&format!("{name}.done")), "{told}");

    // The other file is complete now, and is not signed.
    add_marker(unsigned);
    let (code, report, told) = run();
    assert_eq!(code, 2, "{told}");
    for key in ["read", "accepted"] {
        assert_eq!(report["rows"][key], 0, "{report:#}");
    }
    assert!(told.contains("sign"), "{told}");
    assert!(exists(&format!("failed/{unsigned}")), "{told}");
}
