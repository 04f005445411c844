use uuid::Uuid;

use super::{AGENT, SCOPE, WEEK, cell_of, encode_cell, encode_rows, key, small_entry};
use crate::sealed::{RecordKind, RecordName, TierKeys, TierSecret};

fn secret(lines: &[u8]) -> TierSecret {
    let lines: Vec<_> = lines.iter().map(|letter| char::from(*letter).to_string().repeat(32)).collect();
    TierSecret::parse(lines.join("\n").as_bytes()).unwrap()
}

/// The sealed cell and the sealed bytes of the small entry, with their names.
fn sealed(secret: &TierSecret) -> [(RecordKind, RecordName, Vec<u8>); 2] {
    let (entry, keys) = (small_entry(), secret.first());
    let seal = |kind, name, plain: &[u8]| (kind, name, keys.sealer.seal(kind, &name, plain).unwrap());
    [
        seal(RecordKind::Cell, keys.names.cell(&SCOPE, WEEK), &encode_cell(&cell_of(&entry))),
        seal(RecordKind::Rows, keys.names.entry(&key(3)), &encode_rows(&entry).unwrap()),
    ]
}

#[test]
fn a_new_first_line_seals_and_the_old_line_still_opens() {
    let (old, both, new) = (secret(b"a"), secret(b"ba"), secret(b"b"));
    for (kind, name, sealed) in sealed(&old) {
        let opens = |keys: &TierKeys| {
            let names = [keys.names.cell(&SCOPE, WEEK), keys.names.entry(&key(3))];
            names.contains(&name) && keys.sealer.open(kind, &name, &mut sealed.clone()).is_ok()
        };
        let lines: Vec<_> = both.all().iter().map(opens).collect();
        assert_eq!(lines, [false, true], "{kind:?}");
        assert!(!new.all().iter().any(opens), "{kind:?}");
    }
    for ((_, old, _), (_, both, _)) in sealed(&new).into_iter().zip(sealed(&both)) {
        assert_eq!(old, both);
    }
}

#[test]
fn nothing_of_a_scope_or_a_row_can_be_read_in_records_or_names() {
    let secret = secret(b"a");
    let words =
        ["completed", "odd-status", "outbound", "some-provider", "batch-of-november", "98765", "said"];
    let agent: Uuid = AGENT.parse().unwrap();
    let row = Uuid::from_u128((1 << 64) + 1);
    let mut parts: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    parts.extend([AGENT.as_bytes(), &agent.as_bytes()[..4], &row.as_bytes()[4..], &SCOPE[..4]]);
    for (kind, name, sealed) in sealed(&secret) {
        for text in [&sealed[..], name.as_bytes(), name.to_string().as_bytes()] {
            for part in &parts {
                assert!(!text.windows(part.len()).any(|other| other == *part), "{kind:?} shows {part:?}");
            }
        }
    }
}
