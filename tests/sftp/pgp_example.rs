//! `config-examples/sftp-pgp.yaml`, as it stands there: a password, a file made by GnuPG, a trigger, an archive.

use std::path::Path;
use std::process::Command;

use crate::pipeline::program;
use crate::sshd::{Account, Sshd};
use crate::{needs_root, needs_sshd};

/// GnuPG with a folder of its own.
struct Gpg(tempfile::TempDir);

impl Gpg {
    fn run(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .env("GNUPGHOME", self.0.path())
            .args([
                "--batch",
                "--yes",
                "--quiet",
                "--pinentry-mode",
                "loopback",
                "--trust-model",
                "always",
            ])
            .args(args)
            .output()
            .expect("GnuPG is installed");
        assert!(
            output.status.success(),
            "gpg {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
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

fn write_secret(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_the_example_with_encrypted_files() {
    needs_root!("the example with encrypted files");
    let gpg = Gpg(tempfile::tempdir().unwrap());
    std::fs::set_permissions(gpg.0.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    gpg.run(&[
        "--passphrase",
        PASSPHRASE,
        "--quick-generate-key",
        "hr@contoso.com",
        "rsa2048",
        "default",
        "never",
    ]);
    // The kind of key that can sign only; one to encrypt with is added.
    let listed = String::from_utf8(gpg.run(&["--list-keys", "--with-colons", "hr@contoso.com"])).unwrap();
    let fingerprint = listed
        .lines()
        .find_map(|line| line.strip_prefix("fpr:"))
        .unwrap()
        .trim_matches(':')
        .to_owned();
    gpg.run(&[
        "--passphrase",
        PASSPHRASE,
        "--quick-add-key",
        &fingerprint,
        "rsa2048",
        "encr",
        "never",
    ]);
    gpg.run(&[
        "--passphrase",
        "",
        "--quick-generate-key",
        "vendor@contoso.com",
        "ed25519",
        "sign",
        "never",
    ]);
    let export = concat!(
        "employee_id,work_email,status,resign_date,last_day\r\n",
        "1,Adele.Vance@contoso.com,Terminated,2026-03-02,2026-03-31\r\n",
        "2,alex.wilber@contoso.com,Active,,\r\n",
        "3,diego.siciliani@contoso.com,Terminated,2026-03-03,2026-04-30\r\n",
    );
    let sshd = Sshd::start();
    let account = Account::make();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gz, export.as_bytes()).unwrap();
    let plain = gpg.0.path().join("terminations.csv.gz");
    std::fs::write(&plain, gz.finish().unwrap()).unwrap();
    let name = "terminations-20260304.csv.gz.pgp";
    let path = sshd.write(&format!("outbound/{name}"), "");
    gpg.run(&[
        "--local-user",
        "vendor@contoso.com",
        "--recipient",
        "hr@contoso.com",
        "--sign",
        "--encrypt",
        "--passphrase",
        "",
        "--output",
        path.to_str().unwrap(),
        plain.to_str().unwrap(),
    ]);
    let unsigned = sshd.write("outbound/terminations-20260305.csv.gz.pgp", "");
    gpg.run(&[
        "--recipient",
        "hr@contoso.com",
        "--encrypt",
        "--output",
        unsigned.to_str().unwrap(),
        plain.to_str().unwrap(),
    ]);
    let done = sshd.write(&format!("outbound/{name}.done"), "");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for file in [&path, &unsigned, &done] {
        let file = std::fs::File::options().append(true).open(file).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let outbound = sshd.path("files/outbound");
    account.owns(&outbound);

    let folder = tempfile::tempdir().unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config-examples/sftp-pgp.yaml");
    std::fs::copy(example, folder.path().join("sftp-pgp.yaml")).unwrap();
    let known = format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.host_key("ed25519"));
    std::fs::write(folder.path().join("known_hosts"), known).unwrap();
    std::fs::write(
        folder.path().join("vendor.asc"),
        gpg.run(&["--armor", "--export", "vendor@contoso.com"]),
    )
    .unwrap();
    let key = folder.path().join("hr-key.asc");
    write_secret(
        &key,
        &gpg.run(&[
            "--passphrase",
            PASSPHRASE,
            "--armor",
            "--export-secret-keys",
            "hr@contoso.com",
        ]),
    );
    let run = || {
        program(
            folder.path(),
            "sftp-pgp.yaml",
            &[
                ("SFTP_HOST", format!("127.0.0.1:{}", sshd.port)),
                ("SFTP_FOLDER", outbound.display().to_string()),
                ("SFTP_USER", account.name.clone()),
                ("SFTP_PASSWORD", account.password.clone()),
                ("PGP_KEY_FILE", key.display().to_string()),
                ("PGP_PASSPHRASE", PASSPHRASE.to_owned()),
            ],
        )
    };
    let (code, report, told) = run();
    assert_eq!(code, 0, "{told}");
    assert_eq!(report["rows"]["accepted"], 2, "{report:#}");
    let archived = format!("{name}-{}", report["run_id"].as_str().unwrap());
    assert!(outbound.join("archive").join(archived).exists(), "{told}");
    assert!(!path.exists() && !done.exists(), "{told}");

    // The other file is complete by now, and nobody has signed it.
    let done = sshd.write("outbound/terminations-20260305.csv.gz.pgp.done", "");
    let file = std::fs::File::options().append(true).open(&done).unwrap();
    file.set_modified(long_ago).unwrap();
    let (code, report, told) = run();
    assert_eq!(code, 2, "{told}");
    assert_eq!(
        (&report["rows"]["read"], &report["rows"]["accepted"]),
        (&0.into(), &0.into())
    );
    assert!(told.contains("sign"), "{told}");
    assert!(
        outbound.join("failed/terminations-20260305.csv.gz.pgp").exists(),
        "{told}"
    );
}
