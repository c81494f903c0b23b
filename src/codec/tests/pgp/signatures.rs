//! Who signed, and whether it counts.

use super::*;

#[test]
fn a_signature_is_required_where_the_signers_are_named() {
    let unsigned = Make::to_us().of(b"x");
    let signed = Make::to_us().signed_by(&SENDER.primary_key).of(b"x");
    let by_subkey = Make::to_us().signed_by(&SENDER.secret_subkeys[1].key).of(b"x");
    let by_other = Make::to_us().signed_by(&OTHER.primary_key).of(b"x");
    let by_both = Make::to_us()
        .signed_by(&OTHER.primary_key)
        .signed_by(&SENDER.secret_subkeys[1].key)
        .of(b"x");

    let required = Stand::strict();
    for packed in [&signed, &by_subkey, &by_both] {
        assert_eq!(required.content(packed), b"x");
    }
    assert!(required.refused(&unsigned).contains("is not signed"));
    let said = required.refused(&by_other);
    assert!(
        said.contains(&id(&OTHER.primary_key)) && said.contains(&id(&SENDER.primary_key)),
        "{said}"
    );

    let optional = Stand::strict().set("signature", json!("optional"));
    for packed in [&unsigned, &signed] {
        assert_eq!(optional.content(packed), b"x");
    }
    assert!(optional.refused(&by_other).contains("not in `pgp.signed_by`"));

    let ignored = Stand::new();
    for packed in [&unsigned, &signed, &by_other] {
        assert_eq!(ignored.content(packed), b"x");
    }
}

#[test]
fn a_file_that_is_not_encrypted_is_taken_only_if_that_is_set() {
    let plain = Make::default().signed_by(&SENDER.primary_key).of(b"x");
    assert!(Stand::strict().refused(&plain).contains("is not encrypted"));
    let optional = Stand::strict().set("encrypted", json!("optional"));
    assert_eq!(optional.content(&plain), b"x");
    assert!(
        optional
            .refused(&Make::default().of(b"x"))
            .contains("is not signed")
    );
}

#[test]
fn a_signature_that_does_not_fit_is_refused_under_both_policies() {
    let content = rows(20_000);
    let mut packed = Make::default().signed_by(&SENDER.primary_key).of(&content);
    let place = packed
        .windows(8)
        .position(|window| window == b"@contoso")
        .unwrap();
    packed[place + 1] = b'd';
    for policy in ["required", "optional"] {
        let stand = Stand::strict()
            .set("encrypted", json!("optional"))
            .set("signature", json!(policy));
        let said = stand.refused(&packed);
        assert!(said.contains("is not right"), "{said}");
    }
}

#[test]
fn signatures_that_do_not_count_are_told_why() {
    let issuer = || SubpacketData::IssuerFingerprint(SENDER.primary_key.fingerprint());
    let created = |time: u32| SubpacketData::SignatureCreationTime(Timestamp::from_secs(time));
    let now = Timestamp::now().as_secs();
    let with = |subpackets: Vec<SubpacketData>| Make {
        signed: vec![(&SENDER.primary_key, Some(subpackets))],
        ..Make::to_us()
    };
    let stand = Stand::strict();
    for (packed, expected) in [
        (with(vec![issuer()]), "does not say when"),
        (with(vec![issuer(), created(LONG_AGO - 1)]), "older than the key"),
        (with(vec![issuer(), created(now + 86_400)]), "in the future"),
        (
            with(vec![
                issuer(),
                created(now - 7200),
                SubpacketData::SignatureExpirationTime(Duration::from_secs(3600)),
            ]),
            "has expired",
        ),
    ] {
        let said = stand.refused(&packed.of(b"x"));
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert_eq!(
        stand.content(&with(vec![issuer(), created(now - 60)]).of(b"x")),
        b"x"
    );
    // Without a word of whose it is, it is tried with every key.
    assert_eq!(stand.content(&with(vec![created(now - 60)]).of(b"x")), b"x");
}

/// The sender's key with one more statement about itself.
fn stating(typ: SignatureType, more: Vec<SubpacketData>) -> SignedPublicKey {
    let mut public = SENDER.to_public_key();
    let mut config = SignatureConfig::from_key(OsRng, &SENDER.primary_key, typ).unwrap();
    let now = Timestamp::now().as_secs();
    let mut hashed = vec![
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(now + 1)),
        SubpacketData::IssuerFingerprint(SENDER.primary_key.fingerprint()),
    ];
    hashed.extend(more);
    config.hashed_subpackets = hashed
        .into_iter()
        .map(|data| Subpacket::regular(data).unwrap())
        .collect();
    let signature = config
        .sign_key(&SENDER.primary_key, &Password::empty(), &public.primary_key)
        .unwrap();
    match typ {
        SignatureType::KeyRevocation => public.details.revocation_signatures.push(signature),
        _ => public.details.direct_signatures.push(signature),
    }
    public
}

#[test]
fn expired_and_revoked_keys_do_not_count() {
    let expired = stating(
        SignatureType::Key,
        vec![SubpacketData::KeyExpirationTime(Duration::from_secs(86_400))],
    );
    let revoked = stating(SignatureType::KeyRevocation, vec![]);
    let packed = Make::to_us().signed_by(&SENDER.primary_key).of(b"x");
    let by_subkey = Make::to_us().signed_by(&SENDER.secret_subkeys[1].key).of(b"x");
    for (key, expected) in [(expired, "expired on 2023-11-1"), (revoked, "was revoked")] {
        // Alone, it is found before any file.
        let stand = Stand::strict();
        stand.public("sender.asc", &key);
        let error = stand.read("x.pgp", &packed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(expected), "{error}");
        // Beside another, when a file is signed by it.
        stand.public("other.asc", &OTHER.to_public_key());
        let stand = stand.set("signed_by", json!(["sender.asc", "other.asc"]));
        for packed in [&packed, &by_subkey] {
            let said = stand.refused(packed);
            assert!(said.contains(expected), "{said}");
        }
        assert_eq!(
            stand.content(&Make::to_us().signed_by(&OTHER.primary_key).of(b"x")),
            b"x"
        );
    }
}

#[test]
fn a_subkey_that_the_key_did_not_bind_does_not_count() {
    // Somebody puts a subkey of theirs into the sender's file.
    let mut public = SENDER.to_public_key();
    public
        .public_subkeys
        .push(OTHER.to_public_key().public_subkeys[1].clone());
    let stand = Stand::strict();
    stand.public("sender.asc", &public);
    let packed = Make::to_us().signed_by(&OTHER.secret_subkeys[1].key).of(b"x");
    assert!(stand.refused(&packed).contains("not bound to its primary key"));
    assert_eq!(
        stand.content(&Make::to_us().signed_by(&SENDER.primary_key).of(b"x")),
        b"x"
    );
}

#[test]
fn a_key_for_encryption_alone_does_not_sign() {
    let stand = Stand::strict();
    let mut public = SENDER.to_public_key();
    public
        .public_subkeys
        .retain(|subkey| !subkey.signatures[0].key_flags().sign());
    stand.public("sender.asc", &public);
    let packed = Make::to_us().signed_by(&SENDER.secret_subkeys[1].key).of(b"x");
    assert!(stand.refused(&packed).contains("not in `pgp.signed_by`"));
}
