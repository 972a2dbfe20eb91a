//! The stable form of the fuzz targets: a target on the inputs that are kept in `tests/fuzz/seeds`, and on what a mutator
//! makes of them that always makes the same. The form that is guided by coverage runs the same functions; `tests/fuzz`
//! has it.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Mutated inputs do not become larger.
const INPUT_MAX_BYTES: usize = 64 * 1024;

/// Changes made to an input at most.
const CHANGES_MAX: usize = 8;

/// One target, as a test of the crate that has it runs it.
pub struct Replay {
    name: &'static str,
    mutants: usize,
}

impl Replay {
    pub fn new(name: &'static str) -> Self {
        Replay { name, mutants: 3000 }
    }

    /// How many inputs the mutator makes: fewer, where a run takes long.
    pub fn mutants(self, mutants: usize) -> Self {
        Replay { mutants, ..self }
    }

    /// Runs `target`. With `UPDATE_GOLDEN` in the environment, `samples` are written as the inputs to begin with; what a
    /// fuzzer found is kept beside them.
    pub fn run(self, samples: impl IntoIterator<Item = Vec<u8>>, target: impl Fn(&[u8])) {
        let folder = seeds(self.name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            write(&folder, samples);
        }
        let seeds = read(&folder);
        assert!(!seeds.is_empty(), "{} has no inputs; UPDATE_GOLDEN=1 writes them", folder.display());
        for seed in &seeds {
            self.one(seed, &target);
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..self.mutants {
            self.one(&mutant(&seeds, &mut random), &target);
        }
    }

    fn one(&self, input: &[u8], target: impl Fn(&[u8])) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
            let kept = std::env::temp_dir().join(format!("cradle-fuzz-{}", self.name));
            fs::write(&kept, input).unwrap();
            eprintln!("the input is in {}; keep it in {}", kept.display(), seeds(self.name).display());
            resume_unwind(panic);
        }
    }
}

fn seeds(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds").join(name)
}

fn write(folder: &Path, samples: impl IntoIterator<Item = Vec<u8>>) {
    fs::create_dir_all(folder).unwrap();
    for (number, sample) in samples.into_iter().enumerate() {
        fs::write(folder.join(format!("sample-{number:02}")), sample).unwrap();
    }
}

fn read(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Numbers that look random and are the same each time (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 32).unwrap() % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

/// One of the seeds with some changes.
fn mutant(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(CHANGES_MAX) {
        change(&mut input, seeds, random);
    }
    input.truncate(INPUT_MAX_BYTES);
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + 1 + random.below(16)).min(input.len());
    match random.below(8) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..end)),
        2 => input.insert(at, random.byte()),
        3 => {
            let copy = input[at..end].to_vec();
            input.splice(at..at, copy);
        }
        4 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        // What numbers and lengths are tried with.
        5 => {
            const EDGES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'9', b'/'];
            input[at..end].fill(EDGES[random.below(EDGES.len())]);
        }
        6 => input[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        _ => input[at..end].iter_mut().take(1).for_each(|byte| *byte = random.byte()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_are_many_and_the_same_each_time() {
        let seeds = [b"one seed".to_vec(), vec![0; 40], Vec::new()];
        let all = || {
            let mut random = Random(7);
            (0..500).map(|_| mutant(&seeds, &mut random)).collect::<Vec<_>>()
        };
        let different: std::collections::BTreeSet<_> = all().into_iter().collect();
        assert!(different.len() > 300, "{}", different.len());
        assert_eq!(all(), all());
    }
}
