//! Erased persons in a commit: the dead letters and the failing rows that name them.
//!
//! The identities are in memory only until their epoch is committed, so these are searched in the same commit.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use connectors::DeadLetter;
use schemas::{Digest, contains_any, identity_patterns};
use state::{Bounded, Commit, Erasure, Order, Store};

/// Takes the bytes of erased persons out of dead letters: those that the state holds, and those of the epoch. Each stays
/// with where it came from and why it was refused.
///
/// # Errors
/// When the state cannot be read.
pub(super) fn forget_dead_letters(
    store: &Store,
    commit: &mut Commit,
    dead: &mut [DeadLetter],
    identities: &BTreeMap<Digest, Vec<u8>>,
) -> Result<()> {
    if identities.is_empty() {
        return Ok(());
    }
    let persons: Vec<(Digest, Vec<Vec<u8>>)> =
        identities.iter().map(|(digest, identity)| (*digest, identity_patterns(identity))).collect();
    let mut found: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut names_any = |bytes: &[u8]| {
        let mut named = Vec::new();
        for (digest, patterns) in persons.iter().filter(|(_, patterns)| contains_any(bytes, patterns)) {
            *found.entry(*digest).or_default() += 1;
            named.extend_from_slice(patterns);
        }
        named
    };
    for dead_letter in dead {
        let named = names_any(&dead_letter.to_bytes());
        if !named.is_empty() {
            *dead_letter = dead_letter.clone().without_payload(&named);
        }
    }
    store.dead_letters(Order::Oldest, usize::MAX, |sequence, stored| -> Result<()> {
        let named = names_any(stored);
        if !named.is_empty() {
            let whole = DeadLetter::from_bytes(stored)
                .with_context(|| format!("dead letter {sequence} cannot be read"))?;
            commit.replaced_dead_letters.insert(sequence, whole.without_payload(&named).to_bytes());
        }
        Ok(())
    })?;
    let earlier = store.dir().join("format-1");
    for erasure in &mut commit.erasures {
        if earlier.exists() {
            erasure.left.push(format!("{}: the state as an earlier release wrote it", earlier.display()));
        }
        erasure.dead_letters += found.get(&erasure.digest).copied().unwrap_or(0);
    }
    Ok(())
}

/// Takes rows of the error table that name erased persons out of it, beside the changes of the commit.
///
/// # Errors
/// When the state cannot be read.
pub(super) fn forget_errors(
    (store, table_id): (&Store, u32),
    commit: &mut Commit,
    kept: &mut Bounded,
    identities: &BTreeMap<Digest, Vec<u8>>,
) -> Result<()> {
    for (digest, identity) in identities {
        let forgotten = store.forget_bounded_rows((table_id, kept), &identity_patterns(identity))?;
        for erasure in commit.erasures.iter_mut().filter(|erasure| erasure.digest == *digest) {
            erasure.errors += forgotten;
        }
    }
    Ok(())
}

/// Logs the receipts of an epoch.
pub(super) fn tell_committed(erasures: &[Erasure]) {
    for erasure in erasures {
        let (mut rewritten, mut removed) = (0, 0);
        for rows in erasure.tables.values() {
            rewritten += rows.rewritten;
            removed += rows.removed;
        }
        tracing::info!(
            digest = %erasure.digest,
            epoch = erasure.epoch,
            rewritten,
            removed,
            dead_letters = erasure.dead_letters,
            errors = erasure.errors,
            "a person is erased; files that hold the identity are rewritten next"
        );
    }
}
