//! The state machine of the simulated node: time passes, connections come and go, the gc runs.
//!
//! In: a setup, then ticks: how long it has been, and the map clock's `now`. Out: changes, and a status.
//! Must not: sleep, read a clock or make a system call.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use crate::cilium::Capacities;
use crate::clock::Units;

use super::flow::{Flow, Stage, Stamp};
use super::gc_interval::GcInterval;
use super::node::Node;
use super::phase::{LENGTH, Phase, Scenario};
use super::table::{Change, Counts, Table};

/// The interval that repairs the node: `conntrackGCInterval: 5m`.
const REPAIRED_INTERVAL: Duration = Duration::from_secs(300);
/// How many times Linux repeats a SYN before it gives up, each time after twice the wait.
const SYN_RETRIES: u8 = 6;
/// The gc's speed that fits an incident of [`LENGTH`].
const SPEED: f64 = 80.0;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub scenario: Scenario,
    /// How long the incident takes, up to the healthy phase's end.
    pub length: Duration,
    /// The gc's seconds in one real second. Lifetimes always count real ones.
    pub speed: f64,
    pub capacities: Capacities,
    pub units: Units,
    /// Start over after the incident instead of staying healthy.
    pub repeat: bool,
    pub seed: u64,
}

impl Setup {
    /// A setup of this length whose gc is as much faster as the incident is shorter.
    #[must_use]
    pub fn new(scenario: Scenario, length: Duration, units: Units) -> Self {
        Self {
            scenario,
            length,
            speed: SPEED * LENGTH.as_secs_f64() / length.as_secs_f64().max(1.0),
            capacities: Capacities { tcp: 295_414, any: 147_707, nat: 295_414 },
            units,
            repeat: false,
            seed: 1,
        }
    }
}

/// What the node looks like.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    pub phase: Phase,
    pub counts: Counts,
    /// In the gc's own time.
    pub interval: Duration,
    /// Passes so far.
    pub passes: u64,
    /// Entries the last pass removed.
    pub removed: usize,
    /// Connections that found no port to be translated to.
    pub dropped: u64,
}

/// What happens next to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Packet,
    Close,
    /// One side closes; whether it is the client.
    HalfClose(bool),
    /// The SYN is sent again; how many times it was.
    Retry(u8),
    Reset,
}

/// The simulated node.
#[derive(Clone, Debug)]
pub struct Model {
    setup: Setup,
    node: Node,
    table: Table,
    gc: GcInterval,
    flows: BTreeMap<u64, (Flow, Stage)>,
    schedule: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    next_id: u64,
    phase: Option<Phase>,
    /// Stands for the script's phase once somebody holds one.
    held: Option<Phase>,
    elapsed: Duration,
    next_pass: Duration,
    passes: u64,
    removed: usize,
    dropped: u64,
    /// Fractions of arrivals that did not make a whole one yet, in the order of [`Arrival::ALL`].
    pending: [f64; Arrival::ALL.len()],
}

/// What arrives at a rate.
#[derive(Clone, Copy)]
enum Arrival {
    NasClosing,
    NasHalfClosing,
    NasUnanswered,
    WorldClosing,
    Dns,
}

impl Arrival {
    const ALL: [Self; 5] =
        [Self::NasClosing, Self::NasHalfClosing, Self::NasUnanswered, Self::WorldClosing, Self::Dns];
}

impl Model {
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            node: Node::new(setup.seed),
            table: Table::default(),
            gc: GcInterval::default(),
            flows: BTreeMap::new(),
            schedule: BinaryHeap::new(),
            next_id: 0,
            phase: None,
            held: None,
            elapsed: Duration::ZERO,
            next_pass: Duration::ZERO,
            passes: 0,
            removed: 0,
            dropped: 0,
            pending: [0.0; Arrival::ALL.len()],
        }
    }

    /// Lets time pass up to `elapsed` since the start, at which the map clock shows `now`; what changed.
    pub fn advance(&mut self, elapsed: Duration, now: u32) -> Vec<Change> {
        let at = Stamp { now, units: self.setup.units };
        let passed = elapsed.saturating_sub(self.elapsed);
        self.elapsed = elapsed;
        if self.phase.is_none() {
            self.populate(at);
        }
        let phase = self.phase_at(elapsed);
        if self.phase.replace(phase) != Some(phase) {
            self.enter(phase);
        }
        self.arrivals(phase, passed, at);
        while let Some(Reverse((due, id, event))) = self.schedule.peek().copied()
            && due <= elapsed
        {
            self.schedule.pop();
            self.happen(id, event, phase, at);
        }
        self.collect(now);
        self.table.take_changes()
    }

    #[must_use]
    pub fn status(&self, now: u32) -> Status {
        Status {
            phase: self.phase(),
            counts: self.table.counts(now),
            interval: self.gc.interval(),
            passes: self.passes,
            removed: self.removed,
            dropped: self.dropped,
        }
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.unwrap_or(Phase::Calm)
    }

    /// Stays in this phase from the next tick on, whatever the script says: who waits for what comes of a phase need
    /// not know how long that takes.
    pub const fn hold(&mut self, phase: Phase) {
        self.held = Some(phase);
    }

    /// What the maps hold.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    fn phase_at(&self, elapsed: Duration) -> Phase {
        if let Some(held) = self.held {
            return held;
        }
        match self.setup.scenario {
            Scenario::Healthy => Phase::Healthy,
            Scenario::Incident if self.setup.repeat && !self.setup.length.is_zero() => {
                let rest = elapsed.as_nanos() % self.setup.length.as_nanos();
                let rest = Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX));
                Phase::at(rest, self.setup.length)
            }
            Scenario::Incident => Phase::at(elapsed, self.setup.length),
        }
    }

    fn enter(&mut self, phase: Phase) {
        match phase {
            // The agent starts, with the gc's defaults, and makes its first pass.
            Phase::Calm => {
                self.gc = GcInterval::default();
                self.next_pass = self.elapsed;
            }
            // The agent starts again with a fixed interval, and the NAS resets what it forgot.
            Phase::Repair => {
                self.gc = GcInterval::fixed(REPAIRED_INTERVAL);
                self.next_pass = self.elapsed;
                let half_closed: Vec<u64> = self
                    .flows
                    .iter()
                    .filter(|(_, (_, stage))| matches!(stage, Stage::ClientClosed | Stage::ServerClosed))
                    .map(|(id, _)| *id)
                    .collect();
                for id in half_closed {
                    self.later(id, Event::Reset, Duration::ZERO, self.setup.length / 24);
                }
            }
            // A node that was never anything else.
            Phase::Healthy if self.passes == 0 => {
                self.gc = GcInterval::fixed(REPAIRED_INTERVAL);
                self.next_pass = self.elapsed;
            }
            Phase::PileUp | Phase::HalfClosing | Phase::Unanswered | Phase::Healthy => {}
        }
    }

    /// The connections that live through everything.
    fn populate(&mut self, at: Stamp) {
        type Kind = fn(&mut Node, &Table) -> Option<Flow>;
        let kinds: [(Kind, usize); 6] = [
            (Node::between_pods, 1_000),
            (Node::to_service, 300),
            (Node::to_world, 500),
            (Node::to_nas, 60),
            (Node::to_storage, 40),
            (Node::to_nas_v6, 40),
        ];
        for (kind, count) in kinds {
            for _ in 0..count {
                let flow = kind(&mut self.node, &self.table);
                if let Some(id) = self.start(flow, Stage::Established, at) {
                    self.later(id, Event::Packet, Duration::ZERO, Duration::from_secs(30));
                }
            }
        }
    }

    fn arrivals(&mut self, phase: Phase, passed: Duration, at: Stamp) {
        let rates = phase.rates();
        let faster = LENGTH.as_secs_f64() / self.setup.length.as_secs_f64().max(1.0);
        for (index, arrival) in Arrival::ALL.into_iter().enumerate() {
            let rate = match arrival {
                Arrival::NasClosing => rates.nas_closing * faster,
                Arrival::NasHalfClosing => rates.nas_half_closing * faster,
                Arrival::NasUnanswered => rates.nas_unanswered * faster,
                Arrival::WorldClosing => rates.world_closing,
                Arrival::Dns => rates.dns,
            };
            let Some(pending) = self.pending.get_mut(index) else { continue };
            *pending += rate * passed.as_secs_f64();
            let mut whole = *pending;
            *pending = whole.fract();
            while whole >= 1.0 {
                whole -= 1.0;
                self.arrive(arrival, at);
            }
        }
    }

    fn arrive(&mut self, arrival: Arrival, at: Stamp) {
        let seconds = Duration::from_secs;
        match arrival {
            Arrival::NasClosing | Arrival::WorldClosing => {
                let flow = match arrival {
                    Arrival::WorldClosing => self.node.to_world(&self.table),
                    _ => self.node.to_nas(&self.table),
                };
                if let Some(id) = self.start(flow, Stage::Established, at) {
                    self.later(id, Event::Close, seconds(1), seconds(4));
                }
            }
            Arrival::NasHalfClosing => {
                let flow = self.node.to_storage(&self.table);
                let by_client = self.node.percent(70);
                if let Some(id) = self.start(flow, Stage::Established, at) {
                    self.later(id, Event::HalfClose(by_client), seconds(1), seconds(4));
                }
            }
            Arrival::NasUnanswered => {
                let flow = self.node.to_storage(&self.table);
                if let Some(id) = self.start(flow, Stage::Opening, at) {
                    self.later(id, Event::Retry(1), seconds(1), Duration::ZERO);
                }
            }
            Arrival::Dns => {
                // Question and answer, and nothing after: the entry is forgotten by everybody but the table.
                if let Some(flow) = self.node.dns(&self.table) {
                    flow.create(Stage::Established, at, &mut self.table);
                }
            }
        }
    }

    fn start(&mut self, flow: Option<Flow>, stage: Stage, at: Stamp) -> Option<u64> {
        let Some(flow) = flow else {
            self.dropped += 1;
            return None;
        };
        flow.create(stage, at, &mut self.table);
        self.next_id += 1;
        self.flows.insert(self.next_id, (flow, stage));
        Some(self.next_id)
    }

    /// Schedules an event after `least` and up to `spread` more.
    fn later(&mut self, id: u64, event: Event, least: Duration, spread: Duration) {
        let spread = u64::try_from(spread.as_millis()).unwrap_or_default();
        let wait = least + Duration::from_millis(self.node.below(spread + 1));
        self.schedule.push(Reverse((self.elapsed + wait, id, event)));
    }

    fn happen(&mut self, id: u64, event: Event, phase: Phase, at: Stamp) {
        let Some((flow, stage)) = self.flows.get_mut(&id) else { return };
        let seconds = Duration::from_secs;
        match event {
            Event::Packet => {
                flow.write(*stage, at, &mut self.table);
                self.later(id, Event::Packet, seconds(15), seconds(30));
            }
            Event::Close | Event::Reset => {
                let last = if event == Event::Reset { Stage::Reset } else { Stage::Closed };
                flow.write(last, at, &mut self.table);
                self.flows.remove(&id);
            }
            Event::HalfClose(by_client) => {
                *stage = if by_client { Stage::ClientClosed } else { Stage::ServerClosed };
                flow.write(*stage, at, &mut self.table);
                // One that comes late, in the repair, is reset like the others.
                if phase == Phase::Repair {
                    self.later(id, Event::Reset, Duration::ZERO, self.setup.length / 48);
                }
            }
            Event::Retry(_) if phase != Phase::Unanswered => {
                // This SYN is answered, and the connection does its work.
                *stage = Stage::Established;
                flow.write(*stage, at, &mut self.table);
                self.later(id, Event::Close, seconds(20), seconds(40));
            }
            Event::Retry(count) if count <= SYN_RETRIES => {
                flow.write(Stage::Opening, at, &mut self.table);
                self.later(id, Event::Retry(count + 1), seconds(1 << count), Duration::ZERO);
            }
            // The client gave up; the entry stays until the gc takes it.
            Event::Retry(_) => {
                self.flows.remove(&id);
            }
        }
    }

    /// The gc's pass, when it is time for one.
    fn collect(&mut self, now: u32) {
        if self.next_pass > self.elapsed {
            return;
        }
        let deleted = self.table.collect(now);
        let ratio = deleted
            .iter()
            .map(|(map, count)| share(*count, self.setup.capacities.of(*map)))
            .fold(0.0, f64::max);
        self.removed = deleted.iter().map(|(_, count)| count).sum();
        self.passes += 1;
        let interval = self.gc.finish_pass(ratio);
        // A speed of 0 stops the gc for good.
        let wait = Duration::try_from_secs_f64(interval.as_secs_f64() / self.setup.speed);
        self.next_pass = self.elapsed.saturating_add(wait.unwrap_or(Duration::MAX));
    }
}

#[expect(clippy::cast_precision_loss, reason = "entries of a map are far below 2^52")]
fn share(count: usize, capacity: u32) -> f64 {
    count as f64 / f64::from(capacity.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cilium::MapName;
    use crate::reference::classify;
    use std::collections::BTreeSet;
    use std::ops::Range;

    const START: u32 = 5_000;

    fn setup(scenario: Scenario, length: u64) -> Setup {
        Setup::new(scenario, Duration::from_secs(length), Units::Seconds)
    }

    /// Plays these seconds with ten ticks each; the status at the end of each.
    fn play(model: &mut Model, seconds: Range<u64>) -> Vec<Status> {
        let mut statuses = Vec::new();
        for tick in seconds.start * 10..seconds.end * 10 {
            let now = START + u32::try_from(tick / 10).unwrap();
            model.advance(Duration::from_millis(tick * 100), now);
            if tick % 10 == 9 {
                statuses.push(model.status(now));
            }
        }
        statuses
    }

    /// Entries with one closing bit, all of which keep the long timeout.
    fn half_closed(model: &Model, now: u32) -> usize {
        let one_bit =
            |value: &[u8]| matches!(u16::from_ne_bytes(value[36..38].try_into().unwrap()) & 3, 1 | 2);
        let ct = model.table().records().filter(|(map, ..)| !map.is_nat());
        ct.filter(|(.., value)| one_bit(value))
            .map(|(.., value)| assert!(u32::from_ne_bytes(value[32..36].try_into().unwrap()) > now + 7_000))
            .count()
    }

    #[test]
    fn the_incident_unfolds_and_is_repaired() {
        let mut model = Model::new(setup(Scenario::Incident, LENGTH.as_secs()));
        let mut seconds = play(&mut model, 0..480);
        let half_closed_at_peak = half_closed(&model, START + 479);
        seconds.extend(play(&mut model, 480..600));
        // Shown when an assertion below fails.
        for (second, status) in seconds.iter().enumerate().step_by(10) {
            println!("{second:>4} {status:?}");
        }
        let calm = seconds[15];
        assert!((3_500..5_500).contains(&calm.counts.entries), "{calm:?}");
        assert_eq!(calm.counts.opening, 0);

        // Just before a pass.
        let peak = *seconds.iter().max_by_key(|status| status.counts.entries).unwrap();
        assert_eq!(peak.phase, Phase::Unanswered);
        assert!((18_000..27_000).contains(&peak.counts.entries), "{peak:?}");
        assert!(peak.counts.stale > 12_000, "{peak:?}");
        assert!(peak.counts.opening > 100, "{peak:?}");
        assert!((200..500).contains(&half_closed_at_peak), "{half_closed_at_peak}");
        assert!(peak.interval > 8 * Duration::from_secs(300), "the gc drifted: {peak:?}");

        let end = seconds[599];
        assert_eq!((end.phase, end.counts.opening), (Phase::Healthy, 0));
        assert!((3_500..5_000).contains(&end.counts.entries), "{end:?}");
        assert!(end.counts.stale < 150, "{end:?}");
        assert_eq!(end.interval, Duration::from_secs(300));
        assert_eq!((end.dropped, half_closed(&model, START + 599)), (0, 0));
    }

    #[test]
    fn what_is_counted_is_what_the_reference_sees_on_both_clocks() {
        for units in [Units::Seconds, Units::Jiffies { hz: 250 }] {
            let mut model = Model::new(Setup { units, ..setup(Scenario::Incident, LENGTH.as_secs()) });
            // 165 seconds of the incident with three ticks each: some of every state is there.
            let mut now = 0;
            for tick in 0..=495_u32 {
                now = 16_777_216 + units.of(tick / 3);
                model.advance(Duration::from_millis(u64::from(tick) * 1_000 / 3), now);
            }
            let mut counts = Counts::default();
            for (map, key, value) in model.table().records() {
                if map.is_nat() {
                    counts.nat += 1;
                    continue;
                }
                let class = classify(key, &value, units.reference(now), 600, &[]).unwrap();
                counts.entries += 1;
                counts.stale += usize::from(class.stale);
                counts.opening += usize::from(class.state == "opening");
                counts.expired += usize::from(class.expired);
            }
            assert_eq!(counts, model.status(now).counts);
            assert!(
                counts.stale > 5_000 && counts.opening > 50 && counts.expired > 1_000,
                "{units:?} {counts:?}"
            );
        }
    }

    #[test]
    fn a_shorter_incident_has_the_same_shape() {
        let seconds = play(&mut Model::new(setup(Scenario::Incident, 60)), 0..140);
        assert!(seconds[46].counts.entries > 12_000, "{:?}", seconds[46]);
        assert!(seconds[46].counts.opening > 50);
        let end = seconds[139];
        assert!(end.counts.entries < 5_500 && end.counts.stale < 150 && end.counts.opening == 0, "{end:?}");
    }

    #[test]
    fn a_healthy_node_stays_healthy() {
        for status in play(&mut Model::new(setup(Scenario::Healthy, 240)), 0..300) {
            assert_eq!(status.phase, Phase::Healthy);
            assert_eq!((status.counts.opening, status.dropped), (0, 0));
            assert!(status.counts.entries < 6_000 && status.counts.stale < 50, "{status:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_changes_and_changes_add_up_to_the_table() {
        let mut models = [(); 2].map(|()| Model::new(setup(Scenario::Incident, 300)));
        let mut maps: BTreeMap<(MapName, Vec<u8>), Vec<u8>> = BTreeMap::new();
        for tick in 0..400_u32 {
            let (elapsed, now) = (Duration::from_millis(u64::from(tick) * 100), START + tick / 10);
            let [first, second] = models.each_mut().map(|model| model.advance(elapsed, now));
            assert_eq!(first, second);
            for Change { map, key, value } in first {
                match value {
                    Some(value) => maps.insert((map, key), value),
                    None => maps.remove(&(map, key)),
                };
            }
        }
        let table: BTreeMap<_, _> =
            models[0].table().records().map(|(map, key, value)| ((map, key.to_vec()), value)).collect();
        assert_eq!(maps, table);
        let names: BTreeSet<MapName> = maps.keys().map(|(map, _)| *map).collect();
        assert_eq!(names.len(), 6, "{names:?}");
    }

    #[test]
    fn a_phase_that_is_held_stays_until_another_is() {
        let mut model = Model::new(setup(Scenario::Incident, 150));
        model.hold(Phase::Unanswered);
        let seconds = play(&mut model, 0..100);
        assert!(seconds.iter().all(|status| status.phase == Phase::Unanswered));
        assert!(seconds[99].counts.opening > 50 && seconds[99].counts.stale > 5_000, "{:?}", seconds[99]);
        model.hold(Phase::Repair);
        let end = play(&mut model, 100..200)[99];
        assert_eq!((end.phase, end.counts.opening, end.interval), (Phase::Repair, 0, REPAIRED_INTERVAL));
        // Between two passes what closes piles up, but to a tenth of what it was at the most.
        assert!(end.counts.stale < 500, "{end:?}");
    }

    #[test]
    fn it_starts_over_when_asked_to() {
        let at = |repeat: bool, seconds: u64| {
            let model = Model::new(Setup { repeat, ..setup(Scenario::Incident, 30) });
            model.phase_at(Duration::from_secs(seconds))
        };
        assert_eq!((at(true, 29), at(true, 30), at(true, 60)), (Phase::Healthy, Phase::Calm, Phase::Calm));
        assert_eq!(
            (at(false, 29), at(false, 30), at(false, 60)),
            (Phase::Healthy, Phase::Healthy, Phase::Healthy)
        );
    }
}
