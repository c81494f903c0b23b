//! Passwords, passphrases, and files that are no keys.

use super::*;

#[test]
fn passwords_are_tried_in_turn_and_a_wrong_one_is_told() {
    let content = rows(100_000);
    let files = Stand::new();
    for (name, text) in [
        ("right", "the-right-one"),
        ("wrong", "wrong-1"),
        ("wrong2", "wrong-2"),
    ] {
        secret(files.path(), name, text);
    }
    let with = |names: &[&str]| {
        let passwords: Vec<_> = names.iter().map(|name| json!({"file": name})).collect();
        stand_like(&files, json!({"passwords": passwords}))
    };
    for v2 in [false, true] {
        let packed = Make {
            passwords: vec!["the-right-one"],
            v2,
            ..Make::default()
        }
        .of(&content);
        assert!(one(with(&["right"]).read(&packed).unwrap()) == content);
        assert!(one(with(&["wrong", "wrong2", "right"]).read(&packed).unwrap()) == content);
        for names in [&["wrong"][..], &["wrong", "wrong2"]] {
            let said = said(&with(names).read(&packed).unwrap_err());
            assert!(
                said.contains("none of the passwords") && !said.contains("wrong-"),
                "{said}"
            );
        }
        assert!(Stand::new().refused(&packed).contains("none was given"));
    }
}

#[test]
fn many_wrong_passwords_never_give_anything() {
    // A wrong password is a wrong key, and one in some dozens of those makes a packet of the first bytes.
    let packed = Make {
        passwords: vec!["the-right-one"],
        ..Make::default()
    }
    .of(&rows(3_000));
    let files = Stand::new();
    let mut passwords = Vec::new();
    for number in 0..120 {
        let name = format!("wrong{number}");
        secret(files.path(), &name, &name);
        passwords.push(json!({"file": name}));
    }
    secret(files.path(), "right", "the-right-one");
    let said = files.set("passwords", json!(passwords)).refused(&packed);
    assert!(said.contains("none of the passwords"), "{said}");
}

#[test]
fn the_passphrase_of_a_key_is_looked_at_before_any_file() {
    let locked = generate("hr-import@contoso.com", Some("open-sesame"));
    let stand = Stand::new();
    secret(stand.path(), "locked", &armored(&locked));
    secret(stand.path(), "right", "open-sesame");
    secret(stand.path(), "wrong", "open-barley");
    let packed = Make {
        to: vec![&locked],
        ..Make::default()
    }
    .of(b"x");
    let with = |passphrase: Value| {
        stand_like(
            &stand,
            json!({"keys": [{"key": {"file": "locked"}, "passphrase": passphrase}]}),
        )
    };
    assert_eq!(one(with(json!({"file": "right"})).read(&packed).unwrap()), b"x");
    for (passphrase, expected) in [
        (json!({"file": "wrong"}), "does not open"),
        (json!(null), "has a passphrase"),
    ] {
        let error = with(passphrase).read(&packed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(
            said(&error).contains(expected) && said(&error).contains("pgp.keys[0]"),
            "{}",
            said(&error)
        );
        assert!(!said(&error).contains("barley"));
    }
}

#[test]
fn files_that_are_no_right_keys_are_told() {
    let stand = Stand::new();
    secret(stand.path(), "public", &armored_public(&OURS.to_public_key()));
    secret(stand.path(), "nothing", "-----BEGIN NOTHING-----");
    secret(stand.path(), "cut", &armored(&OURS)[..400]);
    std::fs::write(stand.path().join("secret.asc"), armored(&SENDER)).unwrap();
    std::fs::write(stand.path().join("empty.asc"), "").unwrap();
    let key = |name: &str| json!({"keys": [{"key": {"file": name}}]});
    let signed = |name: &str| json!({"keys": [{"key": {"file": "ours"}}], "signed_by": [name]});
    for (settings, expected) in [
        (key("public"), "is a public key"),
        (key("nothing"), "no armored secret key"),
        (key("cut"), "no armored secret key"),
        (key("missing"), "cannot read the secret file"),
        (signed("secret.asc"), "is a secret key"),
        (signed("empty.asc"), "no OpenPGP public key"),
        (signed("missing.asc"), "cannot read the public key"),
    ] {
        let error = stand_like(&stand, settings.clone()).read(b"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{settings}");
        assert!(error.to_string().contains(expected), "{}", said(&error));
    }
}

#[test]
fn no_key_is_shown() {
    let stand = Stand::strict();
    let unpacker = stand.reader().0;
    let shown = format!("{unpacker:?}");
    assert!(shown.contains(&id(&OURS.secret_subkeys[0].key)), "{shown}");
    assert!(shown.len() < 500, "{shown}");
}
