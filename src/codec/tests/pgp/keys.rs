//! Passwords, passphrases, and invalid key files.

use super::*;

#[test]
fn tries_passwords_in_order_and_reports_when_none_matches() {
    let content = rows(100_000);
    let fixture = Fixture::new();
    for name in ["right", "wrong-1", "wrong-2"] {
        secret(fixture.path(), name, name);
    }
    let with = |names: &[&str]| {
        let passwords: Vec<_> = names.iter().map(|name| json!({"file": name})).collect();
        fixture.with(json!({"passwords": passwords}))
    };
    for v2 in [false, true] {
        let make = Make {
            passwords: vec!["right"],
            v2,
            ..Make::default()
        };
        let encoded = make.of(&content);
        assert!(with(&["right"]).content(&encoded) == content);
        assert!(with(&["wrong-1", "wrong-2", "right"]).content(&encoded) == content);
        for names in [&["wrong-1"][..], &["wrong-1", "wrong-2"]] {
            let shown = with(names).refused(&encoded);
            assert!(
                shown.contains("none of the passwords") && !shown.contains("wrong-"),
                "{shown}"
            );
        }
        assert_shows(&fixture.refused(&encoded), &["none was given"]);
    }
}

#[test]
fn many_wrong_passwords_never_yield_content() {
    // A wrong password yields a wrong key, and one in some dozens of those makes a packet of the first bytes.
    let make = Make {
        passwords: vec!["right"],
        ..Make::default()
    };
    let fixture = Fixture::new();
    let names: Vec<_> = (0..120).map(|number| format!("wrong{number}")).collect();
    for name in &names {
        secret(fixture.path(), name, name);
    }
    let passwords: Vec<_> = names.iter().map(|name| json!({"file": name})).collect();
    let shown = fixture
        .set("passwords", json!(passwords))
        .refused(&make.of(&rows(3_000)));
    assert_shows(&shown, &["none of the passwords"]);
}

#[test]
fn reports_a_wrong_passphrase_or_key_file_before_any_file() {
    let locked = generate("hr-import@contoso.com", Some("open-sesame"));
    let fixture = Fixture::new();
    for (name, text) in [
        ("locked", &*armored(&locked)),
        ("right", "open-sesame"),
        ("wrong", "open-barley"),
        ("public", &armored_public(&OURS.to_public_key())),
        ("nothing", "-----BEGIN NOTHING-----"),
        ("truncated", &armored(&OURS)[..400]),
        ("secret.asc", &armored(&SENDER)),
        ("empty.asc", ""),
    ] {
        secret(fixture.path(), name, text);
    }
    let locked_by =
        |passphrase: Value| json!({"keys": [{"key": {"file": "locked"}, "passphrase": passphrase}]});
    let make = Make {
        to: vec![&locked],
        ..Make::default()
    };
    let unlocked = fixture.with(locked_by(json!({"file": "right"})));
    assert_eq!(unlocked.content(&make.of(b"x")), b"x");
    let key = |name: &str| json!({"keys": [{"key": {"file": name}}]});
    let signed = |name: &str| json!({"keys": [{"key": {"file": "ours"}}], "signed_by": [name]});
    for (settings, expected) in [
        (
            locked_by(json!({"file": "wrong"})),
            &["does not open", "pgp.keys[0]"][..],
        ),
        (locked_by(json!(null)), &["has a passphrase", "pgp.keys[0]"]),
        (key("public"), &["is a public key"]),
        (key("nothing"), &["not an armored secret key"]),
        (key("truncated"), &["not an armored secret key"]),
        (key("missing"), &["cannot read the secret file"]),
        (signed("secret.asc"), &["is a secret key"]),
        (signed("empty.asc"), &["not an OpenPGP public key"]),
        (signed("missing.asc"), &["cannot read the public key"]),
    ] {
        let shown = fixture.with(settings).invalid();
        assert_shows(&shown, expected);
        assert!(!shown.contains("barley"), "{shown}");
    }
}

#[test]
fn debug_shows_key_ids_only() {
    let debug = format!("{:?}", Fixture::strict().decoder());
    assert_shows(&debug, &[&id(&OURS.secret_subkeys[0].key)]);
    assert!(debug.len() < 500, "{debug}");
}
