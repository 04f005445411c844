//! The names of records: keyed digests, so that a name reveals no key, agent or filter.

use aws_lc_rs::hmac;

use super::record::{RecordKind, RecordName};
use crate::store::{EntryKey, ScopeKey};
use crate::tier::Voided;

/// Derives names with the naming key of one line of the secret.
///
/// A name is HMAC-SHA256 of `label ‖ 0 ‖ fields`, cut to 128 bits. Each label has fields of a fixed length, numbers little-endian:
///
/// | label | fields |
/// |---|---|
/// | `namespace` | |
/// | `scope` | the key of the scope |
/// | `cell` | version of the format (u16), key of the scope, week (i64) |
/// | `entry` | version of the format (u16), key of the scope, number (u128) |
/// | `marks` | |
/// | `agent` | the bytes of its UUID |
/// | `credential` | its digest |
/// | `callers` | none; the whole HMAC |
///
/// The version is part of the name, so that two versions of fanfold that use one tier never overwrite each other's records.
/// Marks have none: all versions share them.
#[derive(Debug)]
pub struct TierNames(hmac::Key);

impl TierNames {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Names everything that is kept under this line of the secret.
    pub fn namespace(&self) -> RecordName {
        self.name("namespace", &[])
    }

    /// Names everything that is kept of a scope.
    pub fn scope(&self, scope: &ScopeKey) -> RecordName {
        self.name("scope", &[scope])
    }

    /// Names a scope's cell of one week.
    pub fn cell(&self, scope: &ScopeKey, week: i64) -> RecordName {
        self.versioned("cell", RecordKind::Cell.version(), &[scope, &week.to_le_bytes()])
    }

    /// Names an entry's bytes.
    pub fn entry(&self, key: &EntryKey) -> RecordName {
        let number = key.number.to_le_bytes();
        self.versioned("entry", RecordKind::Rows.version(), &[&key.scope, &number])
    }

    /// Names the void marks.
    pub fn marks(&self) -> RecordName {
        self.name("marks", &[])
    }

    /// Names an agent or a credential in void marks.
    pub fn voided(&self, what: &Voided) -> RecordName {
        match what {
            Voided::Agent(agent) => self.name("agent", &[agent.as_bytes()]),
            Voided::Credential(credential) => self.name("credential", &[credential.as_bytes()]),
        }
    }

    /// The key for the names of callers' keys in pass-through mode, so that a caller's key has the same name after a restart.
    pub fn of_callers(&self) -> [u8; 32] {
        let mut whole = [0; 32];
        whole.copy_from_slice(hmac::sign(&self.0, b"callers\0").as_ref());
        whole
    }

    fn versioned(&self, label: &str, version: u16, fields: &[&[u8]]) -> RecordName {
        let version = version.to_le_bytes();
        self.name(label, &[&[&version[..]], fields].concat())
    }

    fn name(&self, label: &str, fields: &[&[u8]]) -> RecordName {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(label.as_bytes());
        context.update(&[0]);
        fields.iter().for_each(|field| context.update(field));
        let mut name = [0; 16];
        name.copy_from_slice(&context.sign().as_ref()[..16]);
        RecordName::from_bytes(name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::Uuid;

    use super::*;
    use crate::domain::{AgentId, CredentialId};

    const SCOPE: ScopeKey = [7; 16];

    fn names(seed: u8) -> TierNames {
        TierNames::new(&[seed; 32])
    }

    /// Names of everything that has one, from the same bytes where possible.
    fn all(names: &TierNames) -> Vec<RecordName> {
        let entry = |scope, number| names.entry(&EntryKey { scope, number });
        vec![
            names.namespace(),
            names.marks(),
            names.scope(&SCOPE),
            names.scope(&[8; 16]),
            names.cell(&SCOPE, 0),
            names.cell(&SCOPE, 1),
            names.cell(&SCOPE, -1),
            names.cell(&[8; 16], 0),
            entry(SCOPE, 0),
            entry(SCOPE, 1),
            entry([8; 16], 0),
            names.voided(&Voided::Agent(AgentId::new(Uuid::from_bytes(SCOPE)))),
            names.voided(&Voided::Agent(AgentId::new(Uuid::from_bytes([8; 16])))),
            names.voided(&Voided::Credential(CredentialId::new(SCOPE))),
            names.voided(&Voided::Credential(CredentialId::new([8; 16]))),
        ]
    }

    #[test]
    fn names_of_different_things_or_secrets_differ() {
        let (one, other) = (all(&names(1)), all(&names(2)));
        let distinct: HashSet<_> = one.iter().chain(&other).collect();
        assert_eq!(distinct.len(), one.len() + other.len());
        assert_eq!(one, all(&names(1)));
    }

    #[test]
    fn a_name_is_the_same_in_every_build() {
        // Computed from the description above by another implementation. If names changed, everything kept would be lost.
        let names = names(1);
        let entry = names.entry(&EntryKey { scope: SCOPE, number: 3 });
        assert_eq!(names.namespace().to_string(), "354b72f3f4df5a7bdd818a2e06b17d2e");
        assert_eq!(names.marks().to_string(), "5d61db80f749c171305827094e6a7af4");
        assert_eq!(names.cell(&SCOPE, 2900).to_string(), "48fb1d1a6679d4f89857d333986d4bc3");
        assert_eq!(entry.to_string(), "8ee488b73868d75780f8c4d1afb4c943");
    }

    #[test]
    fn another_version_of_a_format_gets_other_names() {
        let fields: [&[u8]; 2] = [&SCOPE, &2900i64.to_le_bytes()];
        let of = |version| names(1).versioned("cell", version, &fields);
        assert_eq!(of(RecordKind::Cell.version()), names(1).cell(&SCOPE, 2900));
        assert_ne!(of(RecordKind::Cell.version() + 1), names(1).cell(&SCOPE, 2900));
    }

    #[test]
    fn a_name_contains_no_part_of_what_it_names() {
        let scope: ScopeKey = *b"agent-and-filter";
        let credential = Voided::Credential(CredentialId::new(scope));
        for name in [names(1).scope(&scope), names(1).cell(&scope, 0), names(1).voided(&credential)] {
            assert!(
                name.as_bytes().windows(3).all(|part| !scope.windows(3).any(|own| own == part)),
                "{name}"
            );
        }
    }
}
