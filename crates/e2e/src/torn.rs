//! What an interrupted write can leave of a file: of its pages that were written last, some are new, some
//! old, some in parts, and the file's new length may be lost.

use rand::Rng;

/// Pages are written one by one; a sector of a page is written whole.
const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// What became of the pages that were being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// Some were not written.
    Lost,
    /// Of some only the first sectors were written.
    Half,
    /// Some hold zeros, as when only the file's length was recorded.
    Zeroed,
    /// Some hold anything.
    Garbled,
    /// The file ends before one of them.
    Cut,
}

impl Tear {
    pub const ALL: [Tear; 5] = [Tear::Lost, Tear::Half, Tear::Zeroed, Tear::Garbled, Tear::Cut];
}

/// The file with at least one of its last pages torn, and which; those that differ between `before`
/// and `after` are the last. `None` when there is none.
pub fn tear(before: &[u8], after: &[u8], how: Tear, rng: &mut impl Rng) -> Option<(Vec<u8>, Vec<usize>)> {
    let page = |bytes: &[u8], n: usize| {
        let start = (n * PAGE).min(bytes.len());
        bytes[start..bytes.len().min(start + PAGE)].to_vec()
    };
    let last: Vec<usize> =
        (0..after.len().div_ceil(PAGE)).filter(|&n| page(before, n) != page(after, n)).collect();
    let one = *last.get(rng.random_range(0..last.len().max(1)))?;
    let mut torn = after.to_vec();
    if how == Tear::Cut {
        torn.truncate(one * PAGE);
        return Some((torn, vec![one]));
    }
    let victims: Vec<usize> = last.into_iter().filter(|&n| n == one || rng.random_bool(0.4)).collect();
    for &n in &victims {
        let place = n * PAGE..after.len().min((n + 1) * PAGE);
        let mut old = page(before, n);
        old.resize(place.len(), 0);
        let place = &mut torn[place];
        match how {
            Tear::Lost => place.copy_from_slice(&old),
            Tear::Half => {
                let whole = SECTOR * rng.random_range(0..PAGE / SECTOR);
                if whole < place.len() {
                    place[whole..].copy_from_slice(&old[whole..]);
                }
            }
            Tear::Zeroed => place.fill(0),
            Tear::Garbled => rng.fill(place),
            Tear::Cut => {}
        }
    }
    Some((torn, victims))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn only_pages_written_last_are_touched() {
        let before: Vec<u8> = vec![1; 10 * PAGE];
        let mut after = before.clone();
        after[3 * PAGE + 7] = 2;
        after[6 * PAGE..7 * PAGE].fill(3);
        after.extend([4; 100]);
        for seed in 0..50 {
            let mut rng = StdRng::seed_from_u64(seed);
            for how in Tear::ALL {
                let (torn, pages) = tear(&before, &after, how, &mut rng).expect("something was written");
                assert!(!pages.is_empty() && pages.iter().all(|n| [3, 6, 10].contains(n)), "{pages:?}");
                if how == Tear::Cut {
                    assert_eq!(torn, after[..pages[0] * PAGE]);
                    continue;
                }
                assert_eq!(torn.len(), after.len());
                for n in (0..11).filter(|n| !pages.contains(n)) {
                    let place = n * PAGE..after.len().min((n + 1) * PAGE);
                    assert_eq!(torn[place.clone()], after[place]);
                }
            }
        }
        assert_eq!(tear(&after, &after, Tear::Lost, &mut StdRng::seed_from_u64(1)), None);
    }
}
