//! Random operations against a model that only knows which parts wait and which are under way.

use super::*;
use std::collections::BTreeMap;

/// Numbers that are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        // Constants of Knuth's MMIX; the low bits repeat too soon.
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn goal(number: usize) -> Goal {
    Goal::Here(format!("u{number}@mx.test"))
}

fn id(number: usize) -> Id {
    Id::from(&*format!("m{number}"))
}

fn seconds(list: &[u64]) -> Vec<Duration> {
    list.iter().copied().map(Duration::from_secs).collect()
}

/// All that waits for a goal.
fn parts_of(slot: &Slot) -> impl Iterator<Item = (Timestamp, &Id)> {
    slot.waiting.iter().chain(&slot.held).map(|(due, id)| ((*due).into(), id))
}

/// The part of a message without a journal.
fn part(goal: Goal, due: Timestamp) -> Part {
    Part { goal, due, is_held: false, seen: None }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waits,
    Runs,
}

/// The board, and the model of what must be on it.
struct Game {
    board: Board,
    dice: Dice,
    now: i64,
    parts: BTreeMap<(Id, Goal), State>,
}

impl Game {
    fn new(seed: u64) -> Game {
        let bounds = Shares { threads: 8, slow: 8, per_destination: 3 };
        let board = Board::new(bounds, seconds(&[300, 900]));
        Game { board, dice: Dice(seed), now: 0, parts: BTreeMap::new() }
    }

    fn running(&self) -> Vec<(Id, Goal)> {
        let running = self.parts.iter().filter(|(_, part)| **part == State::Runs);
        running.map(|(key, _)| key.clone()).collect()
    }

    fn step(&mut self) {
        match self.dice.below(12) {
            0..3 => self.put(),
            3..6 => {
                self.next();
            }
            6..9 => self.done(),
            9 => {
                let id = id(self.dice.below(20));
                self.board.forget(&id);
                self.parts.retain(|(other, _), part| *other != id || *part == State::Runs);
            }
            10 if self.dice.one_in(4) => {
                let chosen = goal(self.dice.below(6));
                self.board.flush(|goal| *goal == chosen);
            }
            10 if self.dice.one_in(4) => {
                let bounds = Shares {
                    threads: 1 + self.dice.below(10),
                    slow: 1 + self.dice.below(10),
                    per_destination: 1 + self.dice.below(4),
                };
                self.board.configure(bounds, seconds(&[60, 600]));
            }
            10 => self.board.trim_all(),
            // The clock mostly goes on; now and then it is set back.
            _ if self.dice.one_in(20) => self.now -= 5000,
            _ => self.now += self.dice.below(400) as i64,
        }
        self.check();
    }

    /// Puts a message as the scheduler does: never while one of its parts is under way.
    fn put(&mut self) {
        let id = id(self.dice.below(20));
        if self.running().iter().any(|(other, _)| *other == id) {
            return;
        }
        self.parts.retain(|(other, _), _| *other != id);
        let mut parts = BTreeMap::new();
        for _ in 0..1 + self.dice.below(3) {
            let due = match self.dice.one_in(10) {
                true => AT_ONCE,
                false => at(self.now + self.dice.below(1000) as i64 - 500),
            };
            parts.insert(goal(self.dice.below(6)), due);
        }
        for goal in parts.keys() {
            self.parts.insert((id.clone(), goal.clone()), State::Waits);
        }
        let is_held = self.dice.one_in(4);
        let seen = match self.dice.below(4) {
            0 => None,
            is_missed => Some(Seen { when: at(self.now), is_missed: is_missed == 1 }),
        };
        let part = |(goal, due)| Part { goal, due, is_held, seen };
        self.board.put(&id, parts.into_iter().map(part));
    }

    /// Takes the next job and checks that the model allows it; false when there is none.
    fn next(&mut self) -> bool {
        let now = at(self.now);
        self.board.find_slow(now);
        let (wakes, ready) = (self.board.wakes(), self.is_anything_ready());
        let before: usize = self.board.running.iter().sum();
        let Some((id, goal, order)) = self.board.next(now) else {
            assert!(!ready, "something is due, and may go");
            assert!(wakes.is_none_or(|when| when > now), "woken for nothing, again and again");
            return false;
        };
        assert!(ready && wakes.is_some_and(|when| when <= now));
        let before_part = self.parts.insert((id, goal.clone()), State::Runs);
        assert_eq!(before_part, Some(State::Waits), "given twice, or never put");
        let (slot, bounds) = (&self.board.slots[&goal], self.board.bounds);
        assert!(before < bounds.threads, "more jobs than workers");
        assert!(slot.running <= slot.allowed(bounds.per_destination), "too many for one goal");
        let [_, new, failing] = self.board.running;
        match slot.class() {
            Class::Sound => {}
            Class::New => assert!(new + failing <= (bounds.threads - bounds.threads / 4).max(1)),
            Class::Failing => assert!(failing <= (bounds.threads / 4).max(1)),
        }
        assert!(order == Order::Attempt || slot.until > now);
        true
    }

    fn is_anything_ready(&self) -> bool {
        let bounds = self.board.bounds;
        self.board.slots.values().any(|slot| {
            let is_due = slot.first().is_some_and(|(due, _)| Timestamp::from(*due) <= at(self.now));
            let is_allowed = slot.running < slot.allowed(bounds.per_destination);
            is_due && is_allowed && self.board.is_open(slot.class() as usize)
        })
    }

    fn done(&mut self) {
        let running = self.running();
        if running.is_empty() {
            return;
        }
        let (id, goal) = running[self.dice.below(running.len())].clone();
        let reach = match self.dice.below(3) {
            0 => Reach::Reached,
            1 => Reach::Missed("down".to_owned()),
            _ => Reach::Untried,
        };
        let due = self.now + self.dice.below(600) as i64 - 10;
        let due = (!self.dice.one_in(2)).then(|| (at(due), at(due + 3000)));
        self.end(&id, &goal, reach, due);
    }

    fn end(&mut self, id: &Id, goal: &Goal, reach: Reach, due: Option<(Timestamp, Timestamp)>) {
        self.parts.remove(&(id.clone(), goal.clone()));
        if due.is_some() {
            self.parts.insert((id.clone(), goal.clone()), State::Waits);
        }
        let is_reached = reach == Reach::Reached;
        let mut jobs = self.board.jobs.iter();
        let is_asked = jobs.any(|job| job.id == *id && *job.goal == *goal && job.is_asked);
        self.board.done(id, goal, reach, due, at(self.now));
        if let Some((first, latest)) = due {
            let slot = &self.board.slots[goal];
            let found = parts_of(slot).find(|(_, other)| *other == id).unwrap().0;
            match is_asked {
                true => assert_eq!(found, Timestamp::UNIX_EPOCH),
                false => assert!(found >= first && found <= first.max(latest), "{first} {found}"),
            }
        }
        if is_reached && let Some(slot) = self.board.slots.get(goal) {
            assert!(slot.held.is_empty() && slot.failures == 0, "put off though it answers");
        }
    }

    /// Checks that all tables of the board agree.
    fn check(&self) {
        let Board { slots, agendas, running, messages, .. } = &self.board;
        let by_slot = slots.iter().flat_map(|(goal, slot)| {
            parts_of(slot).map(move |(due, id)| (id.clone(), Goal::clone(goal), due))
        });
        let by_message = messages.iter().flat_map(|(id, parts)| {
            let all = parts.all().iter();
            all.map(move |place| (id.clone(), Goal::clone(&place.goal), place.due.into()))
        });
        let (mut by_slot, mut by_message): (Vec<_>, Vec<_>) =
            (by_slot.collect(), by_message.collect());
        by_slot.sort();
        by_message.sort();
        assert_eq!(by_slot, by_message);
        let waiting = self.parts.iter().filter(|(_, part)| **part == State::Waits);
        let waiting: Vec<_> = waiting.map(|(key, _)| key.clone()).collect();
        let found: Vec<_> = by_slot.into_iter().map(|(id, goal, _)| (id, goal)).collect();
        assert_eq!(found, waiting, "a part was forgotten, or is there twice");

        let mut counted = [0; 3];
        for (goal, slot) in slots {
            counted[slot.class() as usize] += slot.running - slot.slow;
            let jobs = self.board.jobs.iter();
            let slow = jobs.filter(|job| job.goal == *goal && job.is_slow);
            assert_eq!(slot.slow, slow.count(), "{goal}");
            let jobs = self.running().into_iter().filter(|(_, other)| *other == **goal).count();
            assert_eq!(slot.running, jobs, "{goal}");
            assert_eq!(slot.goal, *goal);
            let is_free = slot.running < slot.allowed(self.board.bounds.per_destination);
            let first = slot.first().filter(|_| is_free).map(|(due, _)| *due);
            assert_eq!(slot.entry, first.map(|due| (due, slot.class())), "{goal}");
        }
        assert_eq!(*running, counted, "jobs are counted in another class than they are in");
        for (class, agenda) in agendas.iter().enumerate() {
            let entries = slots.iter().filter_map(|(goal, slot)| {
                let (when, its) = slot.entry?;
                (its as usize == class).then(|| (when, goal.clone()))
            });
            assert_eq!(*agenda, entries.collect());
        }
    }

    /// Ends all jobs well, until nothing waits.
    fn drain(&mut self) {
        self.now += 1_000_000;
        loop {
            while self.next() {}
            let running = self.running();
            if running.is_empty() {
                break;
            }
            for (id, goal) in running {
                self.end(&id, &goal, Reach::Reached, None);
                self.check();
            }
        }
        assert!(self.parts.is_empty(), "never given: {:?}", self.parts);
        assert!(self.board.messages.is_empty() && self.board.running == [0; 3]);
        assert_eq!(self.board.wakes(), None);
    }
}

impl Board {
    /// Trims as if there were very many goals.
    fn trim_all(&mut self) {
        self.slots.retain(|_, slot| slot.first().is_some() || slot.running > 0);
    }
}

#[test]
fn nothing_is_forgotten_given_twice_or_miscounted() {
    for seed in 0..40 {
        let mut game = Game::new(seed);
        for _ in 0..600 {
            game.step();
        }
        game.drain();
    }
}

fn board(parts: usize) -> Board {
    let bounds = Shares { threads: 8, slow: 8, per_destination: 4 };
    let mut board = Board::new(bounds, seconds(&[300, 3600]));
    for number in 0..parts {
        board.put(&id(number), [part(goal(0), at(0))]);
    }
    board
}

fn missed() -> Reach {
    Reach::Missed("down".to_owned())
}

#[test]
fn what_failed_together_counts_once() {
    let mut board = board(6);
    // Answered once, so four may go there at the same time.
    let (first, to, _) = board.next(at(0)).unwrap();
    board.done(&first, &to, Reach::Reached, None, at(0));
    let jobs: Vec<_> = std::iter::from_fn(|| board.next(at(0))).collect();
    assert_eq!(jobs.len(), 4);
    for (id, goal, _) in &jobs {
        board.done(id, goal, missed(), None, at(1));
    }
    let slot = &board.slots[&to];
    assert_eq!(slot.failures, 1, "one restart of a host is no day of trouble");
    assert!(slot.until <= at(1 + 330), "{}", slot.until);
    // A failure after the back-off counts.
    let when = slot.until;
    let (id, goal, _) = board.next(when).unwrap();
    board.done(&id, &goal, missed(), None, when);
    assert_eq!(board.slots[&to].failures, 2);
}

#[test]
fn what_was_put_off_goes_when_its_goal_answers() {
    let mut board = board(3);
    let (first, to, order) = board.next(at(0)).unwrap();
    assert_eq!(order, Order::Attempt);
    board.done(&first, &to, missed(), Some((at(10), at(9999))), at(0));
    // The others are held one by one, without an attempt.
    for _ in 0..2 {
        let (id, goal, order) = board.next(at(1)).unwrap();
        let Order::Hold { until, because, .. } = order else { panic!("{order:?}") };
        assert!(until > at(299) && because == "down");
        board.done(&id, &goal, Reach::Untried, Some((until, at(9999))), at(1));
    }
    assert_eq!(board.next(at(200)), None);
    let when = board.wakes().unwrap();
    let (id, goal, order) = board.next(when).unwrap();
    assert_eq!(order, Order::Attempt);
    board.done(&id, &goal, Reach::Reached, None, when);
    assert!(board.next(when).is_some() && board.next(when).is_some());
}

#[test]
fn failing_goals_leave_workers_to_the_others() {
    let mut board = board(0);
    for number in 0..20 {
        board.put(&id(number), [part(goal(number), at(0))]);
    }
    // New goals: a quarter of the workers stays free.
    let jobs: Vec<_> = std::iter::from_fn(|| board.next(at(0))).collect();
    assert_eq!(jobs.len(), 6);
    for (id, goal, _) in &jobs {
        board.done(id, goal, missed(), Some((at(400), at(9999))), at(0));
    }
    for other in (0..20).map(id).filter(|id| jobs.iter().all(|(job, ..)| job != id)) {
        board.forget(&other);
    }
    // Failing goals: they get a quarter.
    assert_eq!(std::iter::from_fn(|| board.next(at(5000))).count(), 2);
    assert_eq!(board.wakes(), None);
    board.put(&id(30), [part(goal(30), at(5000))]);
    assert!(board.next(at(5000)).is_some());
}

/// After a start only journals tell: hosts that were silent before do not take the turns of others, however
/// long their mail waits.
#[test]
fn after_a_start_silent_goals_leave_workers_to_the_others() {
    let mut board = board(0);
    let seen = |is_missed| Some(Seen { when: at(-9), is_missed });
    for number in 0..50 {
        let (goal, due, is_held) = (goal(number), at(-1000), false);
        board.put(&id(number), [Part { goal, due, is_held, seen: seen(true) }]);
    }
    // Of two messages, the one with the later attempt decides.
    let answered = Seen { when: at(-8), is_missed: false };
    let alive = Part { seen: Some(answered), ..part(goal(49), at(-900)) };
    board.put(&id(60), [alive]);
    board.put(&id(61), [part(goal(61), at(0))]);
    let jobs: Vec<_> = std::iter::from_fn(|| board.next(at(0))).collect();
    let given = |goal: Goal| jobs.iter().any(|(_, other, _)| *other == goal);
    assert_eq!(jobs.len(), 4, "two of the silent ones, and all others");
    assert!(given(goal(49)) && given(goal(61)));
    assert!(jobs.iter().all(|(.., order)| *order == Order::Attempt));
}

/// New hosts that are silent: most of the workers wait for them, and once these are slow, others serve
/// other hosts.
#[test]
fn what_is_slow_makes_room_for_others() {
    let mut board = board(0);
    (0..7).for_each(|number| board.put(&id(number), [part(goal(number), at(0))]));
    let slow = later(at(0), RELAY_SLOW);
    assert_eq!(std::iter::from_fn(|| board.next(at(0))).count(), 6);
    assert_eq!(board.wakes(), Some(slow));
    assert_eq!(std::iter::from_fn(|| board.next(slow)).count(), 1);
    // As many as may be slow.
    (7..40).for_each(|number| board.put(&id(number), [part(goal(number), at(0))]));
    let more: usize = (1..20).map(|n| std::iter::from_fn(|| board.next(at(n))).count()).sum();
    assert_eq!((7 + more, board.wakes()), (8 + 6, None));
    // One that ends makes room for one.
    board.done(&id(0), &goal(0), missed(), None, at(100));
    assert_eq!(std::iter::from_fn(|| board.next(at(100))).count(), 1);
}

/// Also messages that were tried themselves, or put anew after a reload or a restart.
#[test]
fn all_that_waits_only_for_its_goal_goes_when_that_answers() {
    let mut board = board(3);
    let (first, to, _) = board.next(at(0)).unwrap();
    // Its own time is later than that of its goal.
    board.done(&first, &to, missed(), Some((at(5000), at(9999))), at(0));
    for number in [1, 2] {
        board.put(&id(number), [Part { goal: goal(0), due: at(4000), is_held: true, seen: None }]);
    }
    assert_eq!(board.next(at(1)), None);
    board.put(&id(9), [part(goal(0), AT_ONCE)]);
    let (last, to, order) = board.next(at(1)).unwrap();
    assert_eq!((&*last, order), ("m9", Order::Attempt));
    board.done(&last, &to, Reach::Reached, None, at(1));
    assert_eq!(std::iter::from_fn(|| board.next(at(1))).count(), 3);
}

#[test]
fn a_flush_is_also_for_what_is_under_way() {
    let mut board = board(1);
    let (one, to, _) = board.next(at(0)).unwrap();
    board.flush(|_| true);
    board.done(&one, &to, missed(), Some((at(400), at(9999))), at(1));
    assert_eq!(board.next(at(1)).unwrap().2, Order::Attempt);
    // Only once: the next failure counts like any other.
    board.done(&one, &to, missed(), Some((at(400), at(9999))), at(2));
    assert_eq!(board.next(at(2)), None);
}

#[test]
fn a_client_that_asks_again_and_again_makes_no_further_attempts() {
    let mut board = board(1);
    let (one, to, _) = board.next(at(0)).unwrap();
    board.done(&one, &to, missed(), Some((at(400), at(9999))), at(1));
    // The host was away and says that it is back: asked at once, in spite of its hold.
    assert_eq!(board.flush_for_client(|_| true, at(2)), 1);
    assert_eq!(board.next(at(2)).unwrap().2, Order::Attempt);
    // While that is under way, and after it has failed, the hold counts.
    assert_eq!(board.flush_for_client(|_| true, at(3)), 0);
    board.done(&one, &to, missed(), Some((at(900), at(9999))), at(4));
    assert_eq!(board.flush_for_client(|_| true, at(5)), 0);
    assert_eq!(board.next(at(5)), None);
    let later = 2 + ETRN_AGAIN.as_secs() as i64;
    assert_eq!(board.flush_for_client(|_| true, at(later)), 1);
    assert_eq!(board.next(at(later)).unwrap().2, Order::Attempt);
}

/// A queue that was long once does not take its room for ever.
#[test]
fn what_is_gone_takes_no_room() {
    let mut board = board(0);
    (0..20_000).for_each(|number| board.put(&id(number), [part(goal(number), at(0))]));
    (0..19_000).for_each(|number| board.forget(&id(number)));
    let (one, to, _) = board.next(at(0)).unwrap();
    board.done(&one, &to, Reach::Reached, None, at(0));
    assert_eq!((board.slots.len(), board.messages.len()), (999, 999));
    assert!(board.slots.capacity() < 8 * GOALS_KEPT, "{}", board.slots.capacity());
    assert!(board.messages.capacity() < 4 * ROOM_KEPT, "{}", board.messages.capacity());
    // Most of them are in use.
    (0..1000).for_each(|number| board.put(&id(number), [part(goal(number), at(0))]));
    (0..1000).for_each(|number| board.forget(&id(number)));
    let (one, to, _) = board.next(at(0)).unwrap();
    board.done(&one, &to, Reach::Untried, None, at(0));
    assert_eq!((board.slots.len(), board.messages.len()), (1999, 998));
}
