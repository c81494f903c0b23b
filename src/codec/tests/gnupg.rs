//! Reads files made by GnuPG 2.2 and later.

use std::process::{Command, Stdio};

use super::*;

const PASSPHRASE: &str = "open sesame ä";

/// A GnuPG home with keys in it, and a folder for files.
struct Gnupg {
    folder: tempfile::TempDir,
    home: tempfile::TempDir,
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        let home = self.home.path().as_os_str();
        let arguments = ["--homedir".as_ref(), home, "--kill".as_ref(), "all".as_ref()];
        let _ = Command::new("gpgconf").args(arguments).status();
    }
}

impl Gnupg {
    /// With `rsa@contoso.com` (which has a passphrase) and `ed@contoso.com` to encrypt for, and `rsa@fabrikam.example` and
    /// `ed@fabrikam.example` to sign with. `None` if tests with external programs are disabled.
    fn new() -> Option<Self> {
        if !crate::external::enabled("GnuPG") {
            return None;
        }
        let gnupg = Self {
            folder: tempfile::tempdir().unwrap(),
            home: tempfile::tempdir().unwrap(),
        };
        // Passphrases that are quick to try.
        std::fs::write(gnupg.home.path().join("gpg-agent.conf"), "s2k-count 65536\n").unwrap();
        secret(gnupg.path(), "passphrase", PASSPHRASE);
        for (user, [sign, encrypt], passphrase) in [
            ("rsa@contoso.com", ["rsa2048", "rsa2048"], "PASSPHRASE"),
            ("ed@contoso.com", ["ed25519", "cv25519"], "EMPTY"),
            ("rsa@fabrikam.example", ["rsa2048", "rsa2048"], "EMPTY"),
            ("ed@fabrikam.example", ["ed25519", "cv25519"], "EMPTY"),
        ] {
            let run = |arguments: &str| gnupg.run(&format!("--passphrase {passphrase} {arguments}"));
            // A key to sign with, and a subkey to encrypt for.
            run(&format!("--quick-gen-key {user} {sign} sign never"));
            let listed = String::from_utf8(run(&format!("--with-colons --list-keys {user}"))).unwrap();
            let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
            let fingerprint = line.split(':').nth(9).unwrap();
            run(&format!("--quick-add-key {fingerprint} {encrypt} encr never"));
            run(&format!("--armor --output {user}.asc --export {user}"));
            run(&format!("--output {user}.gpg --export {user}"));
        }
        gnupg.export_secret("--export-secret-keys", "rsa@contoso.com", "rsa.key");
        gnupg.export_secret("--export-secret-keys", "ed@contoso.com", "ed.key");
        Some(gnupg)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Its output, after it succeeded. `PASSPHRASE` and `EMPTY` stand for passphrases.
    fn run(&self, arguments: &str) -> Vec<u8> {
        let arguments = arguments.split_whitespace().map(|argument| match argument {
            "PASSPHRASE" => PASSPHRASE,
            "EMPTY" => "",
            argument => argument,
        });
        let options =
            "--batch --yes --no-tty --pinentry-mode loopback --trust-model always --s2k-count 65536";
        let output = Command::new("gpg")
            .arg("--homedir")
            .arg(self.home.path())
            .args(options.split(' ').chain(arguments.clone()))
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .expect("GnuPG is not installed, and HRSINK_TEST_SERVERS requires it");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let arguments: Vec<&str> = arguments.collect();
        assert!(output.status.success(), "gpg {arguments:?}: {stderr}");
        output.stdout
    }

    fn export_secret(&self, what: &str, user: &str, name: &str) {
        let key = self.run(&format!("--passphrase PASSPHRASE --armor {what} {user}"));
        secret(self.path(), name, &String::from_utf8(key).unwrap());
    }

    /// The file that it makes of `content`.
    fn encode(&self, content: &[u8], arguments: &str) -> Vec<u8> {
        std::fs::write(self.path().join("content"), content).unwrap();
        self.run(&format!("--output encoded {arguments} content"));
        std::fs::read(self.path().join("encoded")).unwrap()
    }

    fn read(&self, encoded: &[u8], pgp: &Value) -> Result<Content> {
        decode_in(self.path(), "x.csv.pgp", encoded, json!({"pgp": pgp}))
    }
}

/// Arguments of gpg | settings | part of the error; none if the content is read.
const CASES: &str = "
--compress-algo none -u rsa@fabrikam.example -r rsa@contoso.com -se     | signed    |
--compress-algo zip --armor -u ed@fabrikam.example -r ed@contoso.com -se | signed   |
--compress-algo zlib -u ed@fabrikam.example -r rsa@contoso.com -se      | signed    |
--compress-algo bzip2 -u rsa@fabrikam.example -r ed@contoso.com -se     | signed    |
-r rsa@fabrikam.example -r ed@contoso.com -e                            | keys      |
-R ed@fabrikam.example -e                                               | keys      | a hidden recipient
-R ed@contoso.com -e                                                    | keys      |
-R rsa@fabrikam.example -R ed@fabrikam.example -R rsa@contoso.com -e    | keys      |
-r rsa@contoso.com -e                                                   | subkeys   |
-r rsa@fabrikam.example -e                                              | keys      | is encrypted for
--passphrase a-password -r ed@contoso.com --symmetric -e                | keys      |
--passphrase a-password --symmetric                                     | passwords |
--passphrase another-one --symmetric                                    | passwords | none of the passwords
--passphrase a-password --cipher-algo AES128 --armor --symmetric        | passwords |
--passphrase a-password -r ed@fabrikam.example --symmetric -e           | passwords |
-u rsa@fabrikam.example -u ed@fabrikam.example -r ed@contoso.com -se    | strict    |
-u ed@fabrikam.example -r ed@contoso.com -se                            | strict    | not in `pgp.signed_by`
-r ed@contoso.com -e                                                    | strict    | is not signed
--digest-algo SHA1 -u rsa@fabrikam.example -r ed@contoso.com -se        | strict    | can be forged
--store                                                                 | strict    | is not encrypted
-u rsa@fabrikam.example --sign                                          | strict    | is not encrypted
-u rsa@fabrikam.example --sign                                          | plain     |
-u rsa@fabrikam.example --clear-sign                                    | plain     | clear-signed
-u rsa@fabrikam.example --detach-sign                                   | plain     | not an OpenPGP message
-u rsa@fabrikam.example --armor --detach-sign                           | plain     | not an OpenPGP message
";

#[test]
fn reads_files_of_gnupg_and_rejects_what_is_not_accepted() {
    let Some(gnupg) = Gnupg::new() else { return };
    secret(gnupg.path(), "password", "a-password");
    secret(gnupg.path(), "wrong", "wrong");
    // A key without its primary part, as exported when that is kept offline.
    gnupg.export_secret("--export-secret-subkeys", "rsa@contoso.com", "subkeys.key");
    let signer = json!(["rsa@fabrikam.example.asc"]);
    let settings = json!({
        "keys": {"keys": our_keys()},
        "signed": {"keys": our_keys(), "signed_by": ["rsa@fabrikam.example.asc", "ed@fabrikam.example.gpg"]},
        "subkeys": {"keys": [{"key": {"file": "subkeys.key"}, "passphrase": {"file": "passphrase"}}]},
        "passwords": {"passwords": [{"file": "wrong"}, {"file": "password"}]},
        "strict": {"keys": our_keys(), "signed_by": signer},
        "plain": {"keys": our_keys(), "signed_by": signer, "encrypted": "optional"},
    });
    for case in CASES.lines().skip(1) {
        let [arguments, name, error] = case.split('|').collect::<Vec<_>>().try_into().unwrap();
        let settings = &settings[name.trim()];
        // Small files have lengths of the old kind.
        for content in [rows(300_000), b"upn\n1\n".to_vec(), b"".to_vec()] {
            let encoded = gnupg.encode(&content, arguments);
            let read = gnupg.read(&encoded, settings);
            if !error.trim().is_empty() {
                assert_shows(&shown(&read.unwrap_err()), &[error.trim()]);
                continue;
            }
            assert!(one(read.unwrap()) == content, "{case}");
            let truncated = gnupg.read(&encoded[..encoded.len() - 30], settings);
            assert!(truncated.is_err(), "{case}");
        }
    }
    let arguments = "--textmode -u rsa@fabrikam.example -r ed@contoso.com -se";
    let encoded = gnupg.encode(b"upn\n1\n", arguments);
    let read = gnupg.read(&encoded, &settings["strict"]);
    assert_eq!(one(read.unwrap()), b"upn\r\n1\r\n");
}

fn our_keys() -> Value {
    json!([{"key": {"file": "rsa.key"}, "passphrase": {"file": "passphrase"}}, {"key": {"file": "ed.key"}}])
}
