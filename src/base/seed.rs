//! Seed streams: named generators drawn from one seed, so that a new draw in one place
//! does not shift the draws of another.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

/// The 27 symbols of generated Kubernetes names
/// (`k8s.io/apimachinery/pkg/util/rand`: no vowels, no look-alikes).
const NAME_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// All the randomness of one run: a generator per name, each a pure function of seed and name.
#[derive(Debug)]
pub struct Streams {
    seed: u64,
    streams: BTreeMap<&'static str, Pcg64Mcg>,
}

impl Streams {
    /// The streams of `seed`.
    pub fn new(seed: u64) -> Self {
        Streams { seed, streams: BTreeMap::new() }
    }

    /// The seed all streams are drawn from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The generator called `name`.
    pub fn stream(&mut self, name: &'static str) -> &mut Pcg64Mcg {
        let seed = self.seed;
        self.streams.entry(name).or_insert_with(|| Pcg64Mcg::seed_from_u64(mix(seed, name)))
    }

    /// A duration drawn uniformly from `low..=high`, to the microsecond.
    pub fn between(&mut self, name: &'static str, low: Duration, high: Duration) -> Duration {
        let (low, high) = (micros(low), micros(high));
        let drawn = self.stream(name).random_range(low..=high.max(low));
        Duration::from_micros(drawn)
    }

    /// An index drawn uniformly from `0..len`; 0 when `len` is 0.
    pub fn index(&mut self, name: &'static str, len: usize) -> usize {
        if len < 2 { 0 } else { self.stream(name).random_range(0..len) }
    }

    /// A float drawn uniformly from `0.0..1.0`.
    pub fn unit(&mut self, name: &'static str) -> f64 {
        self.stream(name).random()
    }

    /// `len` symbols as the API server appends to `generateName`.
    pub fn name_suffix(&mut self, name: &'static str, len: usize) -> String {
        let rng = self.stream(name);
        (0..len)
            .map(|_| char::from(NAME_ALPHABET[rng.random_range(0..NAME_ALPHABET.len())]))
            .collect()
    }

    /// A version 4 UUID.
    pub fn uuid(&mut self, name: &'static str) -> String {
        let rng = self.stream(name);
        let (a, b) = (rng.next_u64(), rng.next_u64());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48 & 0x3fff),
            b & 0xffff_ffff_ffff
        )
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// FNV-1a over the name, offset by the seed: distinct names give unrelated generators.
fn mix(seed: u64, name: &str) -> u64 {
    name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
