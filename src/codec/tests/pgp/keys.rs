//! Passwords, passphrases, and invalid key files.

use super::*;

#[test]
fn tries_passwords_in_order_and_reports_when_none_matches() {
    let content = rows(100_000);
    let fixture = Fixture::new();
    let with = |names: &[&str]| {
        for name in names {
            fixture.secret(name, name);
        }
        let passwords: Vec<_> = names.iter().map(|name| json!({"file": name})).collect();
        fixture.with(json!({"passwords": passwords}))
    };
    // A wrong password yields a wrong key, and one in some dozens of those makes a packet of the first bytes.
    let many: Vec<_> = (0..120).map(|number| format!("wrong-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for v2 in [false, true] {
        let make = Make {
            passwords: vec!["right"],
            v2,
            ..Make::default()
        };
        let encoded = make.of(&content);
        assert!(with(&["right"]).content(&encoded) == content);
        assert!(with(&["wrong-1", "wrong-2", "right"]).content(&encoded) == content);
        for names in [&many[..1], &many[..2]] {
            with(names).refuses(&encoded, &["none of the passwords"]);
            let error = with(names).read("x.csv.pgp", &encoded).unwrap_err();
            assert!(!shown(&error).contains("wrong-"));
        }
        with(&many).refuses(&make.of(&rows(3_000)), &["none of the passwords"]);
        fixture.refuses(&encoded, &["none was given"]);
    }
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
        fixture.secret(name, text);
    }
    let key = |name: &str, passphrase: Option<&str>| {
        let passphrase = passphrase.map(|name| json!({"file": name}));
        fixture.with(json!({"keys": [{"key": {"file": name}, "passphrase": passphrase}]}))
    };
    let signed = |name: &str| Fixture::clone(&fixture).set("signed_by", json!([name]));
    let make = Make {
        to: vec![&locked],
        ..Make::default()
    };
    assert_eq!(key("locked", Some("right")).content(&make.of(b"x")), b"x");
    for (fixture, expected) in [
        (key("locked", Some("wrong")), "does not open the OpenPGP key"),
        (key("locked", None), "`pgp.keys[0]` has a passphrase"),
        (key("public", None), "is a public key"),
        (key("nothing", None), "not an armored secret key"),
        (key("truncated", None), "not an armored secret key"),
        (key("missing", None), "cannot read the secret file"),
        (signed("secret.asc"), "is a secret key"),
        (signed("empty.asc"), "not an OpenPGP public key"),
        (signed("missing.asc"), "cannot read the public key"),
    ] {
        fixture.is_invalid(&[expected]);
    }
    let error = key("locked", Some("wrong")).read("x.csv.pgp", b"").unwrap_err();
    assert!(!shown(&error).contains("barley"));
}

#[test]
fn debug_shows_key_ids_only() {
    let debug = format!("{:?}", Fixture::strict().decoder());
    assert_shows(&debug, &[&id(&OURS.secret_subkeys[0].key)]);
    assert!(debug.len() < 500, "{debug}");
}
