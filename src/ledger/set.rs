//! A compact set of row hashes.
//!
//! A job may remember millions of rows, and all of them are looked up in every run. A hash set of the standard library
//! holds two million of these hashes in 71 MB and needs half as much again while it doubles; this one stays below
//! 55 MB at any time. It uses that the hashes are uniform already: the top bits pick one of 16 shards, so that only a
//! small part grows at a time (and each part is large enough to be given back to the system when it moves), and within a
//! shard the hash itself says where it belongs.
//!
//! Each shard is a table with linear probing whose entries are in the order of their values. So a search for a row that
//! is not there ends at the first greater entry instead of at the next gap, and tables may be nearly full.

use std::fmt;

use super::RowHash;

const SHARDS: usize = 16;

/// A set of row hashes.
#[derive(Clone)]
pub struct RowSet {
    shards: Box<[Shard]>,
    /// Zero marks an empty slot, so the row with that hash is kept apart.
    zero: bool,
}

impl Default for RowSet {
    fn default() -> Self {
        Self {
            shards: vec![Shard::default(); SHARDS].into_boxed_slice(),
            zero: false,
        }
    }
}

impl fmt::Debug for RowSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowSet")
            .field("rows", &self.len())
            .finish_non_exhaustive()
    }
}

impl RowSet {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.used).sum::<usize>() + usize::from(self.zero)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        !self.zero && self.shards.iter().all(|shard| shard.used == 0)
    }

    /// Makes room for `rows` rows in all, so that adding them moves nothing.
    pub fn reserve(&mut self, rows: usize) {
        // Shards are not equally full; three standard deviations more than the mean is enough for nearly all of them.
        let mean = rows.div_ceil(SHARDS);
        let wanted = mean + 3 * mean.isqrt();
        for shard in &mut self.shards {
            let homes = wanted * 100 / 85 + 1;
            if rows > 0 && homes > shard.homes {
                shard.rebuild(homes);
            }
        }
    }

    /// Adds a row; false if it was there.
    pub fn insert(&mut self, row: RowHash) -> bool {
        match row.0 {
            0 => !std::mem::replace(&mut self.zero, true),
            hash => self.shards[shard_of(hash)].insert(hash),
        }
    }

    /// Adds `rows` in order and appends to `new`, for each, whether it was not there. Faster than one by one: the places
    /// of the next rows are looked up in advance, so that waiting for memory overlaps.
    pub fn insert_all(&mut self, rows: &[RowHash], new: &mut Vec<bool>) {
        for block in rows.chunks(AHEAD) {
            let touched = block.iter().fold(0, |touched, row| {
                touched ^ self.shards[shard_of(row.0)].peek(row.0)
            });
            std::hint::black_box(touched);
            new.extend(block.iter().map(|row| self.insert(*row)));
        }
    }

    /// Whether a row is there.
    pub fn contains(&self, row: RowHash) -> bool {
        match row.0 {
            0 => self.zero,
            hash => self.shards[shard_of(hash)].find(hash).is_ok(),
        }
    }
}

/// Rows whose places are looked up together.
const AHEAD: usize = 64;

fn shard_of(hash: u128) -> usize {
    (hash >> 124) as usize
}

#[derive(Debug, Clone, Default)]
struct Shard {
    /// Entries in the order of their values, 0 where there is none; longer than `homes` where the last ones were
    /// pushed out of their places.
    slots: Vec<u128>,
    /// Number of places that hashes are spread over.
    homes: usize,
    used: usize,
}

impl Shard {
    /// Where a hash belongs. Greater hashes never belong further in front.
    fn home(&self, hash: u128) -> usize {
        let spread = (hash >> 60) as u64;
        ((u128::from(spread) * self.homes as u128) >> 64) as usize
    }

    /// What is where it belongs.
    fn peek(&self, hash: u128) -> u128 {
        self.slots.get(self.home(hash)).copied().unwrap_or_default()
    }

    /// Where it is, or else where it must go: a gap, an entry that has to make place, or the end.
    fn find(&self, hash: u128) -> Result<usize, usize> {
        let home = self.home(hash);
        for (place, &slot) in self.slots.iter().enumerate().skip(home) {
            if slot == hash {
                return Ok(place);
            }
            if slot == 0 || slot > hash {
                return Err(place);
            }
        }
        Err(self.slots.len())
    }

    fn insert(&mut self, hash: u128) -> bool {
        let Err(mut place) = self.find(hash) else {
            return false;
        };
        if (self.used + 1) * 100 > self.homes * 85 {
            self.rebuild(self.homes + self.homes / 4 + 8);
            place = self.find(hash).unwrap_or_else(|place| place);
        }
        let mut carried = hash;
        for slot in &mut self.slots[place..] {
            std::mem::swap(slot, &mut carried);
            if carried == 0 {
                break;
            }
        }
        if carried != 0 {
            push(&mut self.slots, carried);
        }
        self.used += 1;
        true
    }

    /// Spreads the entries over `homes` places. They are in order, so each goes behind the one before it.
    fn rebuild(&mut self, homes: usize) {
        let old = std::mem::take(&mut self.slots);
        self.homes = homes;
        let mut slots = Vec::with_capacity(homes + TAIL);
        for hash in old.into_iter().filter(|&hash| hash != 0) {
            let home = self.home(hash);
            if slots.len() < home {
                slots.resize(home, 0);
            }
            push(&mut slots, hash);
        }
        if slots.len() < homes {
            slots.resize(homes, 0);
        }
        self.slots = slots;
    }
}

/// Room for entries that are pushed out at the end of a shard.
const TAIL: usize = 16;

/// Appends without doubling the room.
fn push(slots: &mut Vec<u128>, hash: u128) {
    if slots.len() == slots.capacity() {
        slots.reserve_exact(TAIL);
    }
    slots.push(hash);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn bytes(set: &RowSet) -> usize {
        set.shards
            .iter()
            .map(|shard| shard.slots.capacity() * size_of::<u128>() + size_of::<Shard>())
            .sum()
    }

    fn rows(n: u64) -> impl Iterator<Item = RowHash> {
        (0..n).map(|n| {
            let hash = blake3::hash(&n.to_le_bytes());
            RowHash(u128::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Few distinct values, many of them at the ends of a shard, so that runs of entries reach its end.
        #[test]
        fn it_is_a_set(
            tops in prop::collection::vec(prop_oneof![Just(0u128), Just(1), Just(255), 0u128..256], 0..400),
            lows in prop::collection::vec(
                prop_oneof![0u128..4, Just((1 << 120) - 1), ((1u128 << 120) - 40)..(1 << 120), 0u128..(1 << 120)],
                400,
            ),
            reserve in prop_oneof![Just(0usize), 0usize..3_000],
            probes in prop::collection::vec(any::<u128>(), 50),
        ) {
            let mut set = RowSet::default();
            let mut model = HashSet::new();
            set.reserve(reserve);
            for (top, low) in tops.iter().zip(&lows) {
                let hash = top << 120 | low;
                prop_assert_eq!(set.contains(RowHash(hash)), model.contains(&hash));
                prop_assert_eq!(set.insert(RowHash(hash)), model.insert(hash));
                prop_assert_eq!(set.len(), model.len());
            }
            prop_assert_eq!(set.is_empty(), model.is_empty());
            for &hash in &model {
                prop_assert!(set.contains(RowHash(hash)));
                for near in [hash.wrapping_add(1), hash.wrapping_sub(1)] {
                    prop_assert_eq!(set.contains(RowHash(near)), model.contains(&near));
                }
            }
            for probe in probes {
                prop_assert_eq!(set.contains(RowHash(probe)), model.contains(&probe));
            }
        }
    }

    #[test]
    fn rows_take_little_more_than_their_hashes_while_they_come_and_when_room_was_made() {
        let mut set = RowSet::default();
        for (n, row) in (1..).zip(rows(200_000)) {
            assert!(set.insert(row));
            if n % 20_000 == 0 {
                assert!(bytes(&set) < n * 23 + 100_000, "{n} rows: {} bytes", bytes(&set));
            }
        }
        assert!(rows(200_000).all(|row| set.contains(row)));
        let mut reserved = RowSet::default();
        reserved.reserve(200_000);
        let room = bytes(&reserved);
        assert!(room < 200_000 * 22, "{room} bytes");
        reserved.extend_for_test(rows(200_000));
        assert_eq!(reserved.len(), 200_000);
        assert!(bytes(&reserved) < room + room / 100, "hardly anything was moved");
    }

    impl RowSet {
        fn extend_for_test(&mut self, rows: impl Iterator<Item = RowHash>) {
            for row in rows {
                self.insert(row);
            }
        }
    }
}
