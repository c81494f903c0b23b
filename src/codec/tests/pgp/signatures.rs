//! Which signatures are accepted.

use super::*;

#[test]
fn applies_the_policies_for_signatures_and_encryption() {
    let sender = &SENDER.primary_key;
    let unsigned = Make::to_us().of(b"x");
    let signed = Make::to_us().signed_by(sender).of(b"x");
    let by_subkey = Make::to_us().signed_by(&SENDER.secret_subkeys[1].key).of(b"x");
    let by_other = Make::to_us().signed_by(&OTHER.primary_key).of(b"x");
    let by_both = Make::to_us().signed_by(&OTHER.primary_key);
    let by_both = by_both.signed_by(&SENDER.secret_subkeys[1].key).of(b"x");
    let plain_signed = Make::default().signed_by(sender).of(b"x");
    let plain = Make::default().of(b"x");
    let content = rows(20_000);
    let mut forged = Make::default().signed_by(sender).of(&content);
    let at = forged.windows(8).position(|window| window == b"@contoso");
    forged[at.unwrap() + 1] = b'd';

    let required = Fixture::strict();
    let optional = Fixture::strict().set("signature", json!("optional"));
    let unencrypted = Fixture::strict().set("encrypted", json!("optional"));
    let lenient = optional.clone().set("encrypted", json!("optional"));
    let ignored = Fixture::new();
    let (sender_id, other_id) = (id(sender), id(&OTHER.primary_key));
    for (fixture, encoded, expected) in [
        (&required, &signed, &[][..]),
        (&required, &by_subkey, &[]),
        (&required, &by_both, &[]),
        (&required, &unsigned, &["is not signed"]),
        (&required, &by_other, &[&*sender_id, &*other_id, "not in `pgp"]),
        (&required, &plain_signed, &["is not encrypted"]),
        (&optional, &unsigned, &[]),
        (&optional, &signed, &[]),
        (&optional, &by_other, &["not in `pgp.signed_by`"]),
        (&ignored, &unsigned, &[]),
        (&ignored, &signed, &[]),
        (&ignored, &by_other, &[]),
        (&unencrypted, &plain_signed, &[]),
        (&unencrypted, &plain, &["is not signed"]),
        (&unencrypted, &forged, &["is invalid"]),
        (&lenient, &forged, &["is invalid"]),
    ] {
        match expected {
            [] => assert_eq!(fixture.content(encoded), b"x"),
            expected => fixture.refuses(encoded, expected),
        }
    }
}

#[test]
fn rejects_signatures_with_a_wrong_date() {
    let issuer = || SubpacketData::IssuerFingerprint(SENDER.primary_key.fingerprint());
    let created = |time: u32| SubpacketData::SignatureCreationTime(Timestamp::from_secs(time));
    let lasts = |seconds| SubpacketData::SignatureExpirationTime(Duration::from_secs(seconds));
    let now = Timestamp::now().as_secs();
    let fixture = Fixture::strict();
    for (subpackets, expected) in [
        (vec![issuer()], Some("has no date")),
        (vec![issuer(), created(CREATED - 1)], Some("older than the key")),
        (vec![issuer(), created(now + 86_400)], Some("in the future")),
        (vec![issuer(), created(now - 9), lasts(9)], Some("has expired")),
        (vec![issuer(), created(now - 60)], None),
        // Without an issuer every key is tried.
        (vec![created(now - 60)], None),
    ] {
        let mut make = Make::to_us();
        make.signed.push((&SENDER.primary_key, Some(subpackets)));
        match expected {
            Some(expected) => fixture.refuses(&make.of(b"x"), &[expected]),
            None => assert_eq!(fixture.content(&make.of(b"x")), b"x"),
        }
    }
}

/// The sender's key with one more statement about itself.
fn stating(typ: SignatureType, more: Vec<SubpacketData>) -> SignedPublicKey {
    let mut public = SENDER.to_public_key();
    let mut config = SignatureConfig::from_key(OsRng, &SENDER.primary_key, typ).unwrap();
    let now = Timestamp::now().as_secs();
    let mut statements = vec![
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(now + 1)),
        SubpacketData::IssuerFingerprint(SENDER.primary_key.fingerprint()),
    ];
    statements.extend(more);
    config.hashed_subpackets = regular_subpackets(statements);
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
fn rejects_expired_and_revoked_keys() {
    let expiry = SubpacketData::KeyExpirationTime(Duration::from_secs(86_400));
    let expired = stating(SignatureType::Key, vec![expiry]);
    let revoked = stating(SignatureType::KeyRevocation, vec![]);
    for (key, expected) in [(expired, "expired on 2023-11-1"), (revoked, "was revoked")] {
        // Alone, it is an error before any file.
        let fixture = Fixture::strict();
        fixture.public("sender.asc", &key);
        fixture.is_invalid(&[expected]);
        // With another one, only a file signed by it is.
        fixture.public("other.asc", &OTHER.to_public_key());
        let fixture = fixture.set("signed_by", json!(["sender.asc", "other.asc"]));
        let subkey = &SENDER.secret_subkeys[1].key;
        for key in [&SENDER.primary_key as &dyn SigningKey, subkey] {
            fixture.refuses(&Make::to_us().signed_by(key).of(b"x"), &[expected]);
        }
        let encoded = Make::to_us().signed_by(&OTHER.primary_key).of(b"x");
        assert_eq!(fixture.content(&encoded), b"x");
    }
}

#[test]
fn rejects_subkeys_that_the_primary_key_did_not_bind_for_signing() {
    // Somebody adds their subkey to the sender's file.
    let mut claimed = SENDER.to_public_key();
    let foreign = OTHER.to_public_key().public_subkeys[1].clone();
    claimed.public_subkeys.push(foreign);
    // The file has no signing subkey.
    let mut encrypting = SENDER.to_public_key();
    let subkeys = &mut encrypting.public_subkeys;
    subkeys.retain(|subkey| !subkey.signatures[0].key_flags().sign());
    for (public, signer, expected) in [
        (claimed, &*OTHER, "not bound to its primary key"),
        (encrypting, &*SENDER, "not in `pgp.signed_by`"),
    ] {
        let fixture = Fixture::strict();
        fixture.public("sender.asc", &public);
        let by_subkey = Make::to_us().signed_by(&signer.secret_subkeys[1].key).of(b"x");
        fixture.refuses(&by_subkey, &[expected]);
        let encoded = Make::to_us().signed_by(&SENDER.primary_key).of(b"x");
        assert_eq!(fixture.content(&encoded), b"x");
    }
}
