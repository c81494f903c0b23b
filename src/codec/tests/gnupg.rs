//! Files made by GnuPG are read here, and files made here by GnuPG. For GnuPG 2.2 and later.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::super::Decoder;
use super::super::settings::Codec;
use super::outside;
use super::pgp::{Make, OURS, SENDER, armored, armored_public};
use super::{one, rows, said, secret};
use crate::error::ErrorKind;

const SUITE: &str = "GnuPG";
const PASSPHRASE: &str = "open sesame ä";

/// A home of GnuPG with keys in it, and a folder for files.
struct Gnupg {
    folder: tempfile::TempDir,
    home: tempfile::TempDir,
    /// By their settings: to open a key takes its time.
    unpackers: RefCell<HashMap<String, Decoder>>,
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--kill", "all"])
            .status();
    }
}

impl Gnupg {
    /// With `rsa@contoso.com` (which has a passphrase) and `ed@contoso.com` to encrypt for, and
    /// `rsa@fabrikam.example` and `ed@fabrikam.example` to sign with.
    fn new() -> Self {
        let gnupg = Self {
            folder: tempfile::tempdir().unwrap(),
            home: tempfile::tempdir().unwrap(),
            unpackers: RefCell::default(),
        };
        // Passphrases made quick to try.
        std::fs::write(gnupg.home.path().join("gpg-agent.conf"), "s2k-count 65536\n").unwrap();
        for (user, signing, encrypting, passphrase) in [
            ("rsa@contoso.com", "rsa2048", "rsa2048", PASSPHRASE),
            ("ed@contoso.com", "ed25519", "cv25519", ""),
            ("rsa@fabrikam.example", "rsa2048", "rsa2048", ""),
            ("ed@fabrikam.example", "ed25519", "cv25519", ""),
        ] {
            gnupg.key(user, signing, encrypting, passphrase, &[]);
        }
        for user in ["rsa@fabrikam.example", "ed@fabrikam.example"] {
            gnupg.export(user);
        }
        for (user, name) in [("rsa@contoso.com", "rsa.key"), ("ed@contoso.com", "ed.key")] {
            gnupg.export_secret("--export-secret-keys", user, name);
        }
        secret(gnupg.path(), "passphrase", PASSPHRASE);
        gnupg
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("gpg");
        command
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
                "--s2k-count",
                "65536",
            ])
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// What it wrote, after it went well.
    fn run(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self
            .command()
            .args(arguments)
            .output()
            .expect("GnuPG is not installed, and HRSINK_TEST_SERVERS asks for it");
        assert!(
            output.status.success(),
            "gpg {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// A key; its fingerprint.
    fn key(&self, user: &str, signing: &str, encrypting: &str, passphrase: &str, more: &[&str]) -> String {
        let expires = if more.is_empty() { "never" } else { "1y" };
        self.run(
            &[
                more,
                &[
                    "--passphrase",
                    passphrase,
                    "--quick-gen-key",
                    user,
                    signing,
                    "sign",
                    expires,
                ],
            ]
            .concat(),
        );
        let listed = self.run(&["--with-colons", "--list-keys", user]);
        let listed = String::from_utf8(listed).unwrap();
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        let fingerprint = line.split(':').nth(9).unwrap().to_owned();
        self.run(
            &[
                more,
                &[
                    "--passphrase",
                    passphrase,
                    "--quick-add-key",
                    &fingerprint,
                    encrypting,
                    "encr",
                    expires,
                ],
            ]
            .concat(),
        );
        fingerprint
    }

    /// The public key, as `user.asc` and, not armored, as `user.gpg`.
    fn export(&self, user: &str) {
        self.run(&["--armor", "--output", &format!("{user}.asc"), "--export", user]);
        self.run(&["--output", &format!("{user}.gpg"), "--export", user]);
    }

    fn export_secret(&self, what: &str, user: &str, name: &str) {
        let key = self.run(&["--passphrase", PASSPHRASE, "--armor", what, user]);
        secret(self.path(), name, &String::from_utf8(key).unwrap());
    }

    /// The bytes that it makes of `content`.
    fn pack(&self, content: &[u8], arguments: &[&str]) -> Vec<u8> {
        std::fs::write(self.path().join("content"), content).unwrap();
        self.run(&[&["--output", "packed"], arguments, &["content"]].concat());
        std::fs::read(self.path().join("packed")).unwrap()
    }

    fn read(&self, packed: &[u8], pgp: &Value) -> crate::error::Result<super::Content> {
        let mut known = self.unpackers.borrow_mut();
        let unpacker = match known.entry(pgp.to_string()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(super::unpacker_in(self.path(), &json!({"pgp": pgp}))?),
        };
        super::unpack_with(unpacker, "x.csv.pgp", packed, &[Codec::Pgp])
    }

    fn content(&self, packed: &[u8], pgp: &Value) -> Vec<u8> {
        one(self
            .read(packed, pgp)
            .unwrap_or_else(|error| panic!("{pgp}: {}", said(&error))))
    }
}

fn our_keys() -> Value {
    json!([
        {"key": {"file": "rsa.key"}, "passphrase": {"file": "passphrase"}},
        {"key": {"file": "ed.key"}},
    ])
}

#[test]
fn what_gnupg_encrypts_and_signs_is_read() {
    if !outside::wanted(SUITE) {
        return;
    }
    let gnupg = Gnupg::new();
    let content = rows(300_000);
    let pgp =
        json!({"keys": our_keys(), "signed_by": ["rsa@fabrikam.example.asc", "ed@fabrikam.example.gpg"]});
    for to in ["rsa@contoso.com", "ed@contoso.com"] {
        for by in ["rsa@fabrikam.example", "ed@fabrikam.example"] {
            for compression in ["none", "zip", "zlib", "bzip2"] {
                let armor = if compression == "zip" {
                    "--armor"
                } else {
                    "--no-armor"
                };
                let arguments = [
                    "--compress-algo",
                    compression,
                    armor,
                    "-u",
                    by,
                    "-r",
                    to,
                    "--sign",
                    "--encrypt",
                ];
                let packed = gnupg.pack(&content, &arguments);
                assert!(gnupg.content(&packed, &pgp) == content, "{arguments:?}");
                // The other end of it is looked at too.
                let mut cut = packed.clone();
                cut.truncate(packed.len() - 30);
                assert!(gnupg.read(&cut, &pgp).is_err(), "{arguments:?}");
            }
        }
    }
    // Small ones are written with lengths of the old kind, text with the ends of lines made the same.
    for small in [&b""[..], b"a", b"upn\n1\n"] {
        let packed = gnupg.pack(
            small,
            &[
                "-u",
                "ed@fabrikam.example",
                "-r",
                "ed@contoso.com",
                "--sign",
                "--encrypt",
            ],
        );
        assert_eq!(gnupg.content(&packed, &pgp), small);
    }
    let text = [
        "--textmode",
        "-u",
        "rsa@fabrikam.example",
        "-r",
        "ed@contoso.com",
        "--sign",
        "--encrypt",
    ];
    assert_eq!(
        gnupg.content(&gnupg.pack(b"upn\n1\n", &text), &pgp),
        b"upn\r\n1\r\n"
    );
    // Several who sign, one of whom is known.
    let several = [
        "-u",
        "rsa@fabrikam.example",
        "-u",
        "ed@fabrikam.example",
        "-r",
        "ed@contoso.com",
        "-se",
    ];
    let one_of_them = json!({"keys": our_keys(), "signed_by": ["rsa@fabrikam.example.asc"]});
    assert_eq!(gnupg.content(&gnupg.pack(b"x", &several), &one_of_them), b"x");
}

#[test]
fn recipients_of_gnupg_are_found_however_they_are_named() {
    if !outside::wanted(SUITE) {
        return;
    }
    let gnupg = Gnupg::new();
    let keys = json!({"keys": our_keys()});
    for arguments in [
        &["-r", "rsa@fabrikam.example", "-r", "ed@contoso.com", "-e"][..],
        &["-R", "ed@contoso.com", "-e"],
        &[
            "-R",
            "rsa@fabrikam.example",
            "-R",
            "ed@fabrikam.example",
            "-R",
            "rsa@contoso.com",
            "-e",
        ],
        &[
            "--passphrase",
            "a password",
            "-r",
            "ed@contoso.com",
            "--symmetric",
            "-e",
        ],
    ] {
        assert_eq!(
            gnupg.content(&gnupg.pack(b"x", arguments), &keys),
            b"x",
            "{arguments:?}"
        );
    }
    secret(gnupg.path(), "password", "a password");
    secret(gnupg.path(), "wrong", "another");
    for arguments in [
        &["--passphrase", "a password", "--symmetric"][..],
        &[
            "--passphrase",
            "a password",
            "--cipher-algo",
            "AES128",
            "--armor",
            "--symmetric",
        ],
        &[
            "--passphrase",
            "a password",
            "-r",
            "ed@fabrikam.example",
            "--symmetric",
            "-e",
        ],
    ] {
        let packed = gnupg.pack(&rows(50_000), arguments);
        let right = json!({"passwords": [{"file": "wrong"}, {"file": "password"}]});
        assert!(gnupg.content(&packed, &right) == rows(50_000), "{arguments:?}");
        let error = gnupg
            .read(&packed, &json!({"passwords": [{"file": "wrong"}]}))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{}", said(&error));
    }
    // A key without its primary part, as one that is kept offline is exported.
    gnupg.export_secret("--export-secret-subkeys", "rsa@contoso.com", "subkeys.key");
    let subkeys = json!({"keys": [{"key": {"file": "subkeys.key"}, "passphrase": {"file": "passphrase"}}]});
    assert_eq!(
        gnupg.content(&gnupg.pack(b"x", &["-r", "rsa@contoso.com", "-e"]), &subkeys),
        b"x"
    );
    let error = gnupg.read(
        b"",
        &json!({"keys": [{"key": {"file": "subkeys.key"}, "passphrase": {"file": "wrong"}}]}),
    );
    assert!(said(&error.unwrap_err()).contains("passphrase does not open"));

    let others = gnupg.pack(b"x", &["-r", "rsa@fabrikam.example", "-e"]);
    let said = said(&gnupg.read(&others, &keys).unwrap_err());
    assert!(said.contains("is encrypted for"), "{said}");
}

#[test]
fn what_gnupg_makes_and_is_not_to_be_taken_is_refused() {
    if !outside::wanted(SUITE) {
        return;
    }
    let gnupg = Gnupg::new();
    let strict = json!({"keys": our_keys(), "signed_by": ["rsa@fabrikam.example.asc"]});
    let mut plain = strict.clone();
    plain["encrypted"] = json!("optional");
    let refused = |packed: &[u8], pgp: &Value, expected: &str| {
        let said = said(&gnupg.read(packed, pgp).unwrap_err());
        assert!(said.contains(expected), "{expected}: {said}");
    };
    let by = |user: &'static str| ["-u", user, "-r", "ed@contoso.com", "--sign", "--encrypt"];
    refused(
        &gnupg.pack(b"x", &["-r", "ed@contoso.com", "-e"]),
        &strict,
        "is not signed",
    );
    refused(
        &gnupg.pack(b"x", &by("ed@fabrikam.example")),
        &strict,
        "not in `pgp.signed_by`",
    );
    let signed = gnupg.pack(b"x", &["-u", "rsa@fabrikam.example", "--sign"]);
    refused(&signed, &strict, "is not encrypted");
    assert_eq!(gnupg.content(&signed, &plain), b"x");
    refused(
        &gnupg.pack(b"x", &["-u", "rsa@fabrikam.example", "--clear-sign"]),
        &plain,
        "stays readable",
    );
    refused(
        &gnupg.pack(b"x", &["-u", "rsa@fabrikam.example", "--detach-sign"]),
        &plain,
        "no OpenPGP message",
    );
    refused(
        &gnupg.pack(b"x", &["-u", "rsa@fabrikam.example", "--armor", "--detach-sign"]),
        &plain,
        "no OpenPGP message",
    );
    let weak = [&["--digest-algo", "SHA1"][..], &by("rsa@fabrikam.example")].concat();
    refused(&gnupg.pack(b"x", &weak), &strict, "can be forged");
    let store = gnupg.pack(b"x", &["--store"]);
    refused(&store, &strict, "is not encrypted");
}

#[test]
fn keys_that_gnupg_let_expire_or_revoked_do_not_count() {
    if !outside::wanted(SUITE) {
        return;
    }
    let gnupg = Gnupg::new();
    let past = ["--faked-system-time", "20200101T000000"];
    gnupg.key("expired@fabrikam.example", "ed25519", "cv25519", "", &past);
    gnupg.export("expired@fabrikam.example");
    // One that could be used then; what it was used for is decrypted for ever.
    gnupg.key("old@contoso.com", "ed25519", "cv25519", "", &past);
    gnupg.export_secret("--export-secret-keys", "old@contoso.com", "old.key");
    let arguments = [
        &past[..],
        &["-u", "expired@fabrikam.example", "-r", "old@contoso.com", "-se"],
    ]
    .concat();
    let expired = gnupg.pack(b"x", &arguments);

    let fingerprint = gnupg.key("revoked@fabrikam.example", "ed25519", "cv25519", "", &[]);
    let revoked = gnupg.pack(
        b"x",
        &["-u", "revoked@fabrikam.example", "-r", "ed@contoso.com", "-se"],
    );
    let certificate = gnupg
        .home
        .path()
        .join(format!("openpgp-revocs.d/{fingerprint}.rev"));
    // GnuPG puts a colon before it, so that it is not imported unawares.
    let certificate = std::fs::read_to_string(certificate)
        .unwrap()
        .replace(":-----BEGIN", "-----BEGIN");
    std::fs::write(gnupg.path().join("revocation"), certificate).unwrap();
    gnupg.run(&["--import", "revocation"]);
    gnupg.export("revoked@fabrikam.example");

    for (packed, user, expected) in [
        (expired, "expired@fabrikam.example", "expired on 20"),
        (revoked, "revoked@fabrikam.example", "was revoked"),
    ] {
        let mut keys = our_keys();
        keys.as_array_mut()
            .unwrap()
            .push(json!({"key": {"file": "old.key"}}));
        let alone = json!({"keys": keys, "signed_by": [format!("{user}.asc")]});
        let error = gnupg.read(&packed, &alone).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(said(&error).contains(expected), "{}", said(&error));
        let beside = json!({"keys": keys, "signed_by": ["ed@fabrikam.example.asc", format!("{user}.asc")]});
        let error = gnupg.read(&packed, &beside).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(said(&error).contains(expected), "{}", said(&error));
    }
}

#[test]
fn what_is_made_here_is_decrypted_and_verified_by_gnupg() {
    if !outside::wanted(SUITE) {
        return;
    }
    let gnupg = Gnupg::new();
    secret(gnupg.path(), "ours.key", &armored(&OURS));
    std::fs::write(
        gnupg.path().join("sender.asc"),
        armored_public(&SENDER.to_public_key()),
    )
    .unwrap();
    gnupg.run(&["--import", "ours.key"]);
    gnupg.run(&["--import", "sender.asc"]);
    let content = rows(300_000);
    for armor in [false, true] {
        let make = Make {
            armor,
            compression: Some(::pgp::types::CompressionAlgorithm::ZLIB),
            ..Make::to_us()
        };
        std::fs::write(
            gnupg.path().join("packed"),
            make.signed_by(&SENDER.secret_subkeys[1].key).of(&content),
        )
        .unwrap();
        let status = gnupg.run(&["--status-fd", "1", "--output", "content", "--decrypt", "packed"]);
        let status = String::from_utf8_lossy(&status);
        assert!(
            status.contains("GOODSIG") && status.contains("DECRYPTION_OKAY"),
            "{status}"
        );
        assert!(std::fs::read(gnupg.path().join("content")).unwrap() == content);
    }
}
