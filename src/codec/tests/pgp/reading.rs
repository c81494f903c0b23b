//! What is read, for whom it is, and what is too much.

use super::*;

#[test]
fn every_form_of_a_message_gives_the_content() {
    let stand = Stand::strict();
    let contents = [b"".to_vec(), b"upn\n1\n".to_vec(), rows(200_000)];
    for content in &contents {
        for compression in [
            None,
            Some(CompressionAlgorithm::ZIP),
            Some(CompressionAlgorithm::ZLIB),
            Some(CompressionAlgorithm::BZip2),
        ] {
            for v2 in [false, true] {
                let make = Make {
                    compression,
                    v2,
                    armor: content.len() < 100_000 && !v2,
                    ..Make::to_us()
                };
                let packed = make.clone().signed_by(&SENDER.primary_key).of(content);
                assert!(
                    stand.content(&packed) == *content,
                    "{compression:?} {v2} {}",
                    content.len()
                );
                let unsigned = make.of(content);
                assert!(Stand::new().content(&unsigned) == *content);
            }
        }
    }
    let text = Make {
        text: true,
        ..Make::to_us()
    };
    assert_eq!(
        stand.content(&text.signed_by(&SENDER.primary_key).of(b"a\r\nb\nc\r")),
        b"a\r\nb\nc\r"
    );
}

#[test]
fn buffers_end_anywhere() {
    let stand = Stand::strict();
    for length in [
        8191,
        8192,
        8193,
        8192 - 22,
        16384,
        65535,
        512 * 1024 - 1,
        512 * 1024,
        512 * 1024 + 1,
    ] {
        let content = &rows(length)[..length];
        let packed = Make::to_us().signed_by(&SENDER.primary_key).of(content);
        assert!(stand.content(&packed) == content, "{length}");
    }
}

#[test]
fn one_of_several_recipients_is_enough_hidden_or_not() {
    for hidden in [false, true] {
        let packed = Make {
            to: vec![&OTHER, &OURS, &SENDER],
            hidden,
            passwords: vec!["unknown to us"],
            ..Make::default()
        }
        .of(b"x");
        assert_eq!(Stand::new().content(&packed), b"x");
    }
}

#[test]
fn a_file_for_others_names_them_and_us() {
    let packed = Make {
        to: vec![&OTHER, &SENDER],
        ..Make::default()
    }
    .of(b"x");
    let said = Stand::new().refused(&packed);
    for key in [&OTHER, &SENDER, &OURS] {
        assert!(said.contains(&id(&key.secret_subkeys[0].key)), "{said}");
    }
    let hidden = Make {
        to: vec![&OTHER],
        hidden: true,
        ..Make::default()
    };
    assert!(
        Stand::new()
            .refused(&hidden.of(b"x"))
            .contains("a hidden recipient")
    );
}

#[test]
fn a_bomb_is_found_in_each_layer_of_a_message() {
    let stand = Stand::new();
    for compression in [CompressionAlgorithm::ZLIB, CompressionAlgorithm::BZip2] {
        let packed = Make {
            compression: Some(compression),
            ..Make::to_us()
        }
        .of(&regular(24));
        assert!(
            stand.refused(&packed).contains("max_compression_ratio"),
            "{compression:?}"
        );
    }
    let bomb = gzip(&regular(1)).repeat(24);
    let error = stand.read("x.csv.gz.pgp", &Make::to_us().of(&bomb)).unwrap_err();
    assert!(said(&error).contains("gzip archive unpacked"), "{}", said(&error));
}

#[test]
fn layers_in_a_message_are_read() {
    let content = rows(200_000);
    let stand = Stand::strict();
    let pack = |bytes: &[u8]| Make::to_us().signed_by(&SENDER.primary_key).of(bytes);
    let found = stand.read("x.csv.gz.gpg", &pack(&gzip(&content))).unwrap();
    assert!(one(found) == content);
    let archive = zips::zip(&[("a.csv", &content), ("b.csv", b"b")]);
    let found = stand.read("x.zip.pgp", &pack(&archive)).unwrap();
    assert_eq!(found.len(), 2);
    assert!(found[0].1 == content);
    // A message in an archive, one in the other, and one in gzip.
    let archive = zips::zip(&[("a.csv.pgp", &pack(&content))]);
    let found = stand.read("x.zip", &archive).unwrap();
    assert_eq!(found[0].0.as_deref(), Some("a.csv"));
    assert!(found[0].1 == content);
    assert!(one(stand.read("x.csv.asc.gz", &gzip(&pack(&content))).unwrap()) == content);
    assert!(one(stand.read("x.csv.pgp.pgp", &pack(&pack(&content))).unwrap()) == content);
    // Damage of what is outside is not laid to the message.
    let packed = gzip(&pack(&content));
    let error = stand
        .read("x.csv.asc.gz", &packed[..packed.len() / 2])
        .unwrap_err();
    assert!(
        error.chain().contains("gzip archive is damaged"),
        "{}",
        said(&error)
    );
}
