//! Plays the simulated node on real maps in the background, phase by phase.
//!
//! In: a private bpffs, a setup, and which phase to play. Out: six pinned maps that change, and a status.
//! Must not: decide what is written (see `simulate`), or outlive the value.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::bpffs::Bpffs;
use crate::cilium::Maps;
use crate::clock::Clock;
use crate::simulate::model::{Model, Setup, Status};
use crate::simulate::phase::{Phase, Scenario};

/// Between two ticks of the model.
const TICK: Duration = Duration::from_millis(100);

/// A simulated node that runs as long as the value lives.
pub struct Player {
    /// Dropping it ends the thread.
    phases: Option<Sender<Phase>>,
    status: Arc<Mutex<Status>>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What the thread owns.
struct Stage {
    maps: Maps,
    model: Model,
    clock: Clock,
    start: Instant,
    status: Arc<Mutex<Status>>,
}

impl Player {
    /// Creates the maps, fills them with what lives on the node in this phase, and goes on with it. The gc's
    /// seconds pass `speed` times as fast as real ones.
    pub fn start(bpffs: &Bpffs, speed: f64, phase: Phase) -> Result<Self> {
        let clock = Clock::ktime();
        let length = crate::simulate::phase::LENGTH;
        let setup = Setup { speed, ..Setup::new(Scenario::Incident, length, clock.units()) };
        let maps = Maps::create(bpffs, setup.capacities, 0)?;
        let mut model = Model::new(setup);
        model.hold(phase);
        maps.apply(&model.advance(Duration::ZERO, clock.now()?))?;
        let status = Arc::new(Mutex::new(model.status(clock.now()?)));
        let stage = Stage { maps, model, clock, start: Instant::now(), status: Arc::clone(&status) };
        let (phases, orders) = channel();
        let thread = thread::spawn(move || stage.play(&orders));
        Ok(Self { phases: Some(phases), status, thread: Some(thread) })
    }

    /// Goes over to another phase.
    pub fn play(&self, phase: Phase) -> Result<()> {
        let phases = self.phases.as_ref().context("the simulated node was ended")?;
        phases.send(phase).map_err(|_| anyhow!("the simulated node stopped: see its error above"))
    }

    /// What the node looks like.
    #[must_use]
    pub fn status(&self) -> Status {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.phases = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Ok(()))) | None => {}
            Some(Ok(Err(error))) => eprintln!("the simulated node stopped: {error:#}"),
            Some(Err(_)) => eprintln!("the thread of the simulated node died"),
        }
    }
}

impl Stage {
    fn play(mut self, orders: &Receiver<Phase>) -> Result<()> {
        loop {
            match orders.recv_timeout(TICK) {
                Ok(phase) => self.model.hold(phase),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            let now = self.clock.now()?;
            self.maps.apply(&self.model.advance(self.start.elapsed(), now))?;
            *self.status.lock().unwrap_or_else(PoisonError::into_inner) = self.model.status(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cilium::MapName;

    #[test]
    fn the_maps_follow_the_phase_that_is_played() {
        let bpffs = Bpffs::mount().unwrap();
        let player = Player::start(&bpffs, 240.0, Phase::Calm).unwrap();
        assert_eq!(player.status().counts.opening, 0);
        player.play(Phase::Unanswered).unwrap();
        let patience = Instant::now() + Duration::from_secs(60);
        while player.status().counts.opening == 0 {
            assert!(Instant::now() < patience, "{:?}", player.status());
            thread::sleep(TICK);
        }
        assert!(bpffs.pin(MapName::Ct4.pin()).exists());
    }
}
