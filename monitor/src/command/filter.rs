//! Which entries to show.
//!
//! In: command-line arguments and the targets. Out: [`Filter`], a pure predicate of facts.
//! Must not: answer where the clock is unknown: `None` is for the caller to report.

use clap::Args;
use clap::builder::BoolishValueParser;
use monitor_abi::class::{Direction, State};
use monitor_model::classifier::{CtFacts, NatFacts};
use monitor_model::map_name::{MapName, global_maps, with_aliases};
use monitor_model::prefix::Prefix;
use monitor_model::target::{NO_TARGET, OTHER_SERVICE, TargetIndex};

/// Arguments that select entries of any map.
#[derive(Args, Clone, Debug, Default)]
pub struct SelectArgs {
    /// Only these maps, by the name of their pin (with or without `cilium_`)
    #[arg(long = "map", value_name = "NAME", value_delimiter = ',', value_parser = map, env = "CTMON_MAP")]
    pub maps: Vec<String>,
    /// Only entries of this target; `none` for those of no target
    #[arg(long, value_name = "NAME", env = "CTMON_TARGET")]
    pub target: Option<String>,
    /// Only entries of this service of a target; `other` for ports that name no service
    #[arg(long, value_name = "NAME", env = "CTMON_SERVICE")]
    pub service: Option<String>,
    /// Only these directions: out, in, service, related
    #[arg(long = "direction", value_name = "DIRECTION", value_delimiter = ',', value_parser = direction, env = "CTMON_DIRECTION")]
    pub directions: Vec<Direction>,
    /// Only entries with one of these addresses or CIDRs at any end
    #[arg(long = "address", value_name = "IP|CIDR", value_delimiter = ',', env = "CTMON_ADDRESS")]
    pub addresses: Vec<Prefix>,
}

/// Arguments that select conntrack entries.
#[derive(Args, Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct CtSelectArgs {
    #[command(flatten)]
    pub select: SelectArgs,
    /// Only these states: `rx_closing`, `tx_closing`, closed, stateless, opening, established
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = state, env = "CTMON_STATE")]
    pub states: Vec<State>,
    /// Only stale entries: with one closing bit or both
    #[arg(long, env = "CTMON_STALE", value_parser = BoolishValueParser::new())]
    pub stale: bool,
    /// Only stale entries that have been silent for `stale_after` or longer
    #[arg(long, env = "CTMON_LINGERING", value_parser = BoolishValueParser::new())]
    pub lingering: bool,
    /// Only connections that lead out, wait for their first answer, and have heard nothing for two units of the clock
    #[arg(long, env = "CTMON_UNANSWERED", value_parser = BoolishValueParser::new())]
    pub unanswered: bool,
    /// Only entries whose lifetime has passed
    #[arg(long, env = "CTMON_EXPIRED", value_parser = BoolishValueParser::new())]
    pub expired: bool,
}

/// A name that no map, target or service has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("no target is called {name:?}: use one of {known}")]
    Target { name: String, known: String },
    #[error("map {name} is not among the maps that were read: {known}")]
    Map { name: String, known: String },
    #[error("no service is called {name:?}: use one of {known}")]
    Service { name: String, known: String },
}

/// A predicate of entries.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    args: CtSelectArgs,
}

impl Filter {
    /// A filter for conntrack entries.
    pub fn ct(args: &CtSelectArgs, targets: &TargetIndex) -> Result<Self, FilterError> {
        let SelectArgs { target, service, .. } = &args.select;
        let names = || targets.pairs().filter(|(name, _)| target.as_deref().is_none_or(|only| only == *name));
        if let Some(name) = target.as_ref().filter(|name| *name != NO_TARGET)
            && names().next().is_none()
        {
            let known = listed(targets.pairs().map(|(target, _)| target), NO_TARGET);
            return Err(FilterError::Target { name: name.clone(), known });
        }
        if let Some(name) = service.as_ref().filter(|name| *name != OTHER_SERVICE)
            && !names().any(|(_, service)| service == name)
        {
            let known = listed(names().map(|(_, service)| service), OTHER_SERVICE);
            return Err(FilterError::Service { name: name.clone(), known });
        }
        Ok(Self { args: args.clone() })
    }

    /// A filter for NAT entries, which have neither state nor lifetime.
    pub fn nat(args: &SelectArgs, targets: &TargetIndex) -> Result<Self, FilterError> {
        Self::ct(&CtSelectArgs { select: args.clone(), ..CtSelectArgs::default() }, targets)
    }

    /// Whether the entry is selected; `None` where the clock or a report would have to be known.
    #[must_use]
    pub fn matches(&self, facts: &CtFacts<'_>) -> Option<bool> {
        let CtSelectArgs { select, states, stale, lingering, unanswered, expired } = &self.args;
        let row = &facts.row;
        let certain = select.wants_map(facts.map)
            && select.wants_target(facts.target, facts.target_service)
            && (select.directions.is_empty() || select.directions.contains(&row.direction))
            && (states.is_empty() || states.contains(&row.state))
            && (!stale || row.state.is_stale())
            && select.wants_address(&[row.initiator.address, row.responder.address]);
        let on_clock =
            [(*expired, facts.expired), (*lingering, facts.lingering), (*unanswered, facts.unanswered)];
        let asked = || on_clock.iter().filter(|(asked, _)| *asked).map(|(_, answer)| *answer);
        if !certain || asked().any(|answer| answer == Some(false)) {
            return Some(false);
        }
        asked().all(|answer| answer.is_some()).then_some(true)
    }

    /// Whether the NAT entry is selected.
    #[must_use]
    pub fn matches_nat(&self, facts: &NatFacts<'_>) -> bool {
        let (select, row) = (&self.args.select, &facts.row);
        select.wants_map(facts.map)
            && select.wants_target(facts.target, facts.target_service)
            && (select.directions.is_empty() || select.directions.contains(&row.direction))
            && select.wants_address(&[row.source.address, row.destination.address, row.to.address])
    }
}

impl SelectArgs {
    /// Whether a map is asked for; one that is not need not be opened.
    #[must_use]
    pub fn wants_map(&self, map: &str) -> bool {
        self.maps.is_empty() || self.maps.iter().any(|name| map_name(name) == map)
    }

    /// Complains about a map that was asked for by name and did not come, given those that did, asked for or not.
    pub(crate) fn all_came(&self, came: &[String]) -> Result<(), FilterError> {
        let Some(name) = self.maps.iter().find(|name| !came.iter().any(|map| map == map_name(name))) else {
            return Ok(());
        };
        let known: Vec<_> = came.iter().map(|map| with_aliases(map)).collect();
        Err(FilterError::Map { name: with_aliases(map_name(name)), known: known.join(", ") })
    }

    fn wants_target(&self, target: &str, service: &str) -> bool {
        // `other` is a service of targets: an entry of no target has none.
        self.target.as_deref().is_none_or(|name| name == target)
            && self.service.as_deref().is_none_or(|name| name == service && target != NO_TARGET)
    }

    fn wants_address(&self, addresses: &[std::net::IpAddr]) -> bool {
        self.addresses.is_empty()
            || self.addresses.iter().any(|prefix| addresses.iter().any(|&address| prefix.contains(address)))
    }
}

/// A map's name from that of its pin.
fn map_name(pin: &str) -> &str {
    pin.strip_prefix("cilium_").unwrap_or(pin)
}

/// Names in order, each once.
fn listed<'a>(names: impl Iterator<Item = &'a str>, reserved: &'a str) -> String {
    let mut list: Vec<&str> = Vec::new();
    for name in names.chain([reserved]) {
        if !list.contains(&name) {
            list.push(name);
        }
    }
    list.join(", ")
}

/// A name that a map may have, here or on another node.
fn map(name: &str) -> Result<String, String> {
    let known = || {
        let maps = global_maps().into_iter().map(|map| map.with_aliases());
        maps.chain(["per_cluster_..._N".to_owned()]).collect::<Vec<_>>().join(", ")
    };
    let found = MapName::of(map_name(name)).map(|_| name.to_owned());
    found.ok_or_else(|| format!("no conntrack or NAT map is called so: use one of {}", known()))
}

fn direction(name: &str) -> Result<Direction, String> {
    let known = || Direction::ALL.iter().map(|direction| direction.name()).collect::<Vec<_>>().join(", ");
    Direction::from_name(&name.to_lowercase()).ok_or_else(|| format!("use one of {}", known()))
}

fn state(name: &str) -> Result<State, String> {
    let known = || State::ALL.iter().map(|state| state.name()).collect::<Vec<_>>().join(", ");
    State::from_name(&name.to_lowercase()).ok_or_else(|| format!("use one of {}", known()))
}
