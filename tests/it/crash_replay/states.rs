//! What a power cut may leave, at each moment of a log.
//!
//! [`Loose`] follows a log and knows what of it is durable and what is loose. A state is one choice for
//! each loose thing: for a name, what it led to when its directory was made durable last, or after any
//! of the steps since; for a file, how much of what was appended since, and whether as zeros.

use super::log::{Entry, Synced, What};
use super::tree::{Content, Kind, Name, Node, Tree};
use crate::support::Dice;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

type Place = (Node, Name);

/// One name: where it led durably, and each step since.
struct Names {
    path: PathBuf,
    durable: Option<Node>,
    steps: Vec<Step>,
}

#[derive(Clone, PartialEq)]
struct Step {
    at: usize,
    to: Option<Node>,
    /// A rename's old name, and where the new one is.
    instead: Option<Place>,
}

/// Octets that were appended together.
struct Chunk {
    at: usize,
    start: usize,
    end: usize,
    is_durable: bool,
    /// When the disk had it: a name that was made later, where order is kept, is never there without it.
    on_disk: Option<usize>,
    /// A sync of it has failed; no later one can be believed.
    is_lost: bool,
}

#[derive(Default)]
struct File {
    path: PathBuf,
    octets: Vec<u8>,
    chunks: Vec<Chunk>,
    /// What it may hold; none: to be found again.
    variants: Option<Vec<Content>>,
}

/// A log up to some moment.
pub struct Loose {
    /// As it is when nothing loose is there; all files and directories, with or without a name.
    base: Tree,
    names: BTreeMap<Place, Names>,
    files: BTreeMap<Node, File>,
    begun: HashMap<usize, usize>,
    at: usize,
}

/// What there is to choose: so many ways each.
pub struct Choices {
    places: Vec<Place>,
    files: Vec<Node>,
    sizes: Vec<usize>,
    /// The choice without anything loose.
    lost: Vec<u16>,
}

/// How many states are looked at.
#[derive(Clone, Copy)]
pub struct Depth {
    /// All, when there are no more than so many.
    pub all: usize,
    /// Else those that differ in so many things at most from all kept, and from all lost.
    pub differ: usize,
    /// Of the others so many, by lot.
    pub samples: usize,
}

impl Loose {
    /// `base`: what is there before the log, durably; `nodes`: all that come to be in it.
    pub fn new(base: &Tree, nodes: &Tree) -> Loose {
        let mut base = base.clone();
        for node in base.nodes.len()..nodes.nodes.len() {
            base.add(match &nodes.nodes[node] {
                Kind::Dir(_) => Kind::Dir(BTreeMap::new()),
                Kind::File(_) => Kind::File(Content::new(Vec::new())),
            });
        }
        let (names, files, begun) = Default::default();
        Loose { base, names, files, begun, at: 0 }
    }

    /// The next entry of the log; gives whether it changes anything on the disk.
    pub fn take(&mut self, entry: &Entry) -> bool {
        self.at += 1;
        match &entry.what {
            What::Name(dir, name, to) => {
                self.step((*dir, name.clone()), &entry.path, *to, None);
            }
            What::Rename(from, to, node) => {
                let old = Path::new("(renamed)").join(&*from.1);
                self.step(from.clone(), &old, None, Some(to.clone()));
                self.step(to.clone(), &entry.path, Some(*node), None);
            }
            What::Append(node, octets) => self.append(*node, &entry.path, octets),
            What::Begin(number) => {
                self.begun.insert(*number, self.at);
                return false;
            }
            What::End(number, what, is_good) => {
                let until = self.begun[number];
                match is_good {
                    true => self.settle(*what, until),
                    false => self.lose(*what, until),
                }
            }
            What::Mark(_) => return false,
        }
        true
    }

    fn step(&mut self, place: Place, path: &Path, to: Option<Node>, instead: Option<Place>) {
        let durable = self.base.names(place.0).unwrap().get(&place.1).copied();
        let (path, steps) = (path.to_owned(), Vec::new());
        let names = self.names.entry(place).or_insert(Names { path, durable, steps });
        names.steps.push(Step { at: self.at, to, instead });
    }

    fn append(&mut self, node: Node, path: &Path, octets: &[u8]) {
        let before = self.base.octets(node).unwrap();
        let new = || File { octets: before.to_vec(), path: path.to_owned(), ..File::default() };
        let file = self.files.entry(node).or_insert_with(new);
        let start = file.octets.len();
        file.octets.extend_from_slice(octets);
        let end = file.octets.len();
        let (is_durable, on_disk, is_lost) = (false, None, false);
        file.chunks.push(Chunk { at: self.at, start, end, is_durable, on_disk, is_lost });
        file.variants = None;
    }

    /// A sync that began at `until` has come back.
    fn settle(&mut self, what: Synced, until: usize) {
        if let Synced::Octets(node) = what {
            let chunks = self.files.get_mut(&node).into_iter().flat_map(|file| &mut file.chunks);
            for chunk in chunks.filter(|chunk| chunk.at < until && !chunk.is_lost) {
                chunk.on_disk.get_or_insert(self.at);
            }
            return;
        }
        // Files whose names are durable now, and since when they had them.
        let mut named: HashMap<Node, usize> = HashMap::new();
        for (place, names) in &mut self.names {
            if what == Synced::All || what == Synced::Dir(place.0) {
                let settled = names.steps.iter().rposition(|step| step.at < until);
                if let Some(last) = settled {
                    names.durable = names.steps[last].to;
                    for step in names.steps.drain(..=last) {
                        if let Some(node) = step.to {
                            named.insert(node, step.at);
                        }
                    }
                    self.base.set(place.0, &place.1, names.durable);
                }
            }
        }
        self.names.retain(|_, names| !names.steps.is_empty());
        for (node, file) in &mut self.files {
            if what == Synced::All || what == Synced::File(*node) {
                for chunk in file.chunks.iter_mut().filter(|chunk| chunk.at < until) {
                    chunk.is_durable |= !chunk.is_lost;
                }
                file.variants = None;
            }
            let behind = |chunk: &Chunk, at| chunk.on_disk.is_some_and(|on_disk| on_disk < at);
            for chunk in &mut file.chunks {
                if named.get(node).is_some_and(|at| behind(chunk, *at)) {
                    chunk.is_durable = true;
                    file.variants = None;
                }
            }
        }
        self.files.retain(|node, file| {
            let is_loose = file.chunks.iter().any(|chunk| !chunk.is_durable);
            if !is_loose {
                self.base.nodes[*node] = Kind::File(Content::new(std::mem::take(&mut file.octets)));
            }
            is_loose
        });
    }

    /// A sync has failed: the kernel reports that once, and may have thrown the octets away.
    fn lose(&mut self, what: Synced, until: usize) {
        for (node, file) in &mut self.files {
            if [Synced::All, Synced::File(*node), Synced::Octets(*node)].contains(&what) {
                let old = file.chunks.iter_mut().filter(|chunk| chunk.at < until);
                old.for_each(|chunk| chunk.is_lost |= !chunk.is_durable);
            }
        }
    }

    /// What there is to choose now.
    pub fn choices(&mut self) -> Choices {
        for file in self.files.values_mut().filter(|file| file.variants.is_none()) {
            file.variants = Some(file.find_variants());
        }
        let places: Vec<Place> = self.names.keys().cloned().collect();
        let files: Vec<Node> = self.files.keys().copied().collect();
        let of_names = places.iter().map(|place| self.names[place].values().len());
        let of_files = files.iter().map(|node| self.variants(*node).len());
        let sizes: Vec<usize> = of_names.chain(of_files).collect();
        let durably = |place| {
            let names: &Names = &self.names[place];
            names.values().iter().position(|(to, _)| *to == names.durable).unwrap_or(0) as u16
        };
        let mut lost: Vec<u16> = places.iter().map(durably).collect();
        lost.resize(sizes.len(), 0);
        Choices { places, files, sizes, lost }
    }

    fn variants(&self, node: Node) -> &[Content] {
        self.files[&node].variants.as_deref().unwrap_or_default()
    }

    /// The state of one choice.
    pub fn state(&self, choices: &Choices, choice: &[u16]) -> Tree {
        let mut tree = self.base.clone();
        let (names, files) = choice.split_at(choices.places.len());
        let chosen: HashMap<&Place, usize> =
            choices.places.iter().zip(names.iter().map(|way| usize::from(*way))).collect();
        for (place, way) in &chosen {
            tree.set(place.0, &place.1, self.names[*place].values()[*way].0);
        }
        // A journal never has a file without any name in the middle of a rename, as long as neither
        // directory was synced: where the old name is gone, the new one is there.
        for (place, way) in &chosen {
            let Some(last) = self.names[*place].values()[*way].1 else { continue };
            for step in &self.names[*place].steps[..=last] {
                let Some(new) = &step.instead else { continue };
                let Some(others) = self.names.get(new) else { continue };
                let renamed = others.steps.iter().find(|other| other.at == step.at);
                let is_before = |way: usize| others.values()[way].1;
                let early = chosen.get(new).is_some_and(|way| {
                    is_before(*way).is_none_or(|last| others.steps[last].at < step.at)
                });
                if let Some(renamed) = renamed.filter(|_| early) {
                    tree.set(new.0, &new.1, renamed.to);
                }
            }
        }
        let named = self.named_at(&chosen, &tree);
        for (node, way) in choices.files.iter().zip(files) {
            let (file, variants) = (&self.files[node], self.variants(*node));
            let content = &variants[usize::from(*way)];
            let is_there = |chunk: &&Chunk| {
                chunk.on_disk.is_some_and(|at| named.get(node).is_some_and(|named| at < *named))
            };
            let has = |chunk: &Chunk| {
                let range = chunk.start..chunk.end;
                content.octets.get(range.clone()) == Some(&file.octets[range])
            };
            // The last one has all octets.
            let is_possible = file.chunks.iter().filter(is_there).all(has);
            let content = if is_possible { content } else { &variants[variants.len() - 1] };
            tree.nodes[*node] = Kind::File(content.clone());
        }
        tree
    }

    /// When each file got the last of the names that this state has of it; those before the log are not told.
    fn named_at(&self, chosen: &HashMap<&Place, usize>, tree: &Tree) -> HashMap<Node, usize> {
        let mut named = HashMap::new();
        for place in chosen.keys() {
            let Some(node) = tree.names(place.0).unwrap().get(&place.1) else { continue };
            let mut steps = self.names[*place].steps.iter();
            if let Some(step) = steps.rfind(|step| step.to == Some(*node)) {
                let at = named.entry(*node).or_insert(step.at);
                *at = step.at.max(*at);
            }
        }
        named
    }
}

impl Loose {
    /// What a choice means, for people.
    pub fn describe(&self, choices: &Choices, choice: &[u16]) -> String {
        let (names, files) = choice.split_at(choices.places.len());
        let mut lines = String::new();
        for (place, way) in choices.places.iter().zip(names) {
            let names = &self.names[place];
            let (to, _) = names.values()[usize::from(*way)];
            let there = if to.is_some() { "is there" } else { "is not there" };
            lines.push_str(&format!("  {} {there}\n", names.path.display()));
        }
        for (node, way) in choices.files.iter().zip(files) {
            let (file, octets) =
                (&self.files[node], &self.variants(*node)[usize::from(*way)].octets);
            let zeros = octets.iter().filter(|octet| **octet == 0).count();
            let (path, most) = (file.path.display(), file.octets.len());
            lines.push_str(&format!(
                "  {path} has {} of {most} octets, {zeros} zeros\n",
                octets.len()
            ));
        }
        lines
    }
}

impl Names {
    /// All it may lead to, each once and with its last step; at the end where it leads now.
    fn values(&self) -> Vec<(Option<Node>, Option<usize>)> {
        let mut values: Vec<(Option<Node>, Option<usize>)> = vec![(self.durable, None)];
        for (index, step) in self.steps.iter().enumerate() {
            values.retain(|(to, _)| *to != step.to);
            values.push((step.to, Some(index)));
        }
        values
    }
}

impl File {
    /// First without anything loose, last with all of it. What cannot be cut off, as something durable
    /// stands behind it, may be zeros.
    fn find_variants(&self) -> Vec<Content> {
        let loose: Vec<&Chunk> = self.chunks.iter().filter(|chunk| !chunk.is_durable).collect();
        let last_durable = self.chunks.iter().rposition(|chunk| chunk.is_durable);
        let tail = last_durable.map_or(self.chunks[0].start, |last| self.chunks[last].end);
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut octets = self.octets.clone();
            change(&mut octets);
            octets
        };
        let zero = |octets: &mut Vec<u8>, start: usize, end: usize| octets[start..end].fill(0);
        let zero_all = |octets: &mut Vec<u8>| {
            loose.iter().for_each(|chunk| zero(octets, chunk.start, chunk.end));
        };
        let end = self.octets.len();
        let middle = tail + (end - tail) / 2;
        let mut found = vec![with(&|octets| {
            zero_all(octets);
            octets.truncate(tail);
        })];
        for cut in [tail + 1, middle, end.saturating_sub(1)] {
            if (tail..end).contains(&cut) {
                found.push(with(&|octets| octets.truncate(cut)));
            }
        }
        found.push(with(&zero_all));
        found.push(with(&|octets| zero(octets, middle, end)));
        // Blocks reach a disk in any order.
        found.push(with(&|octets| zero(octets, tail, middle)));
        for chunk in &loose {
            found.push(with(&|octets| zero(octets, chunk.start, chunk.end)));
            found.push(with(&|octets| zero(octets, chunk.start, (chunk.start + chunk.end) / 2)));
        }
        found.push(self.octets.clone());
        let mut seen = HashSet::new();
        let last = found.len() - 1;
        let (whole, found): (Vec<u8>, _) = (found.swap_remove(last), found);
        let mut found: Vec<Content> = found.into_iter().map(Content::new).collect();
        let whole = Content::new(whole);
        found.retain(|content| content.hash != whole.hash && seen.insert(content.hash));
        found.push(whole);
        found
    }
}

impl Choices {
    /// How many there are in all.
    fn product(&self) -> usize {
        self.sizes.iter().fold(1usize, |product, size| product.saturating_mul(*size))
    }

    /// Those that are looked at, each once.
    pub fn each(&self, depth: Depth, dice: &mut Dice) -> Vec<Vec<u16>> {
        let count = self.sizes.len();
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut add = |choice: Vec<u16>| {
            let mut hasher = DefaultHasher::new();
            choice.hash(&mut hasher);
            if seen.insert(hasher.finish()) {
                found.push(choice);
            }
        };
        if self.product() <= depth.all {
            let mut choice = vec![0; count];
            loop {
                add(choice.clone());
                let next =
                    (0..count).find(|&index| usize::from(choice[index]) + 1 < self.sizes[index]);
                let Some(next) = next else { return found };
                choice[..next].fill(0);
                choice[next] += 1;
            }
        }
        let kept: Vec<u16> = self.sizes.iter().map(|size| *size as u16 - 1).collect();
        for base in [kept, self.lost.clone()] {
            add(base.clone());
            self.near(&base, 0, depth.differ, &mut add);
        }
        for _ in 0..depth.samples {
            add(self.sizes.iter().map(|size| dice.below(*size) as u16).collect());
        }
        found
    }

    /// All that differ from this one in one thing from `first` on, or in more, up to `depth`.
    fn near(&self, base: &[u16], first: usize, depth: usize, add: &mut dyn FnMut(Vec<u16>)) {
        if depth == 0 {
            return;
        }
        for index in first..base.len() {
            for way in (0..self.sizes[index] as u16).filter(|way| *way != base[index]) {
                let mut choice = base.to_vec();
                choice[index] = way;
                add(choice.clone());
                self.near(&choice, index + 1, depth - 1, add);
            }
        }
    }
}
