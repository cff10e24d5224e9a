//! `/proc/fs/cifs/DebugData`: what the client knows of each server.
//!
//! In: the file's bytes. Out: one [`Server`] per server. Must not: keep user names or session ids, fail on a line it
//! does not know, or believe a line that a server or the source of a mount may have written.
//!
//! Names of servers and shares, domains and operating systems are printed as they came, line ends included. So a line means
//! something only where the client itself would print it, by its first characters; what the client numbers goes up by one,
//! its headings come in their order, and nothing is said twice. A file that breaks these rules has lines in it that are
//! not the client's, and none of it is believed.

use std::net::IpAddr;

use monitor_model::host::cifs::{Server, ServerStatus};

use crate::error::ParseError;

use super::{counter, gauge, numbers};

/// Which list the lines below belong to, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// No server yet, or all lists of the last session are through.
    Between,
    Server,
    /// Below the heading, before the first session.
    Sessions,
    Session,
    Channels,
    Shares,
    Interfaces,
    Mids,
    /// Behind the last server.
    Witnesses,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Server>, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines().enumerate();
    if !lines.any(|(_, line)| line.trim_end() == "Servers:") {
        return Err(ParseError::new(1, "a line \"Servers:\"", &text));
    }
    let mut reader = Reader { connections: Vec::new(), part: Part::Between, shares: 0, said: Vec::new() };
    for (index, line) in lines {
        reader.read(line).map_err(|expected| ParseError::new(index + 1, expected, line))?;
    }
    Ok(reader.connections)
}

struct Reader {
    connections: Vec<Server>,
    part: Part,
    /// Of the session whose shares are listed, its IPC$ included.
    shares: usize,
    /// What was said of the last server itself, by its label.
    said: Vec<&'static str>,
}

/// What the client would have printed instead.
type Expected = &'static str;

const ORDER: Expected = "the client's own order of lists";
const ONCE: Expected = "what the client says once of a server, once";

impl Reader {
    fn read(&mut self, line: &str) -> Result<(), Expected> {
        if self.part == Part::Witnesses {
            return Ok(());
        }
        if let Some((number, rest)) = numbered(line)
            && let Some(rest) = rest.strip_prefix(" ConnectionId: 0x")
        {
            return self.begin_server(number, rest);
        }
        if line == "--" {
            return self.go(&[Part::Mids], Part::Between);
        }
        if line.starts_with("Witness registrations:") {
            return self.go(&[Part::Between, Part::Sessions], Part::Witnesses);
        }
        if let Some(listed) = line.strip_prefix('\t') {
            if let Some(heading) = self.heading(listed) {
                return heading;
            }
            if let Some((number, rest)) = numbered(listed) {
                return self.listed(number, rest);
            }
        }
        self.detail(line)
    }

    /// Goes on to the next part, if it may follow this one.
    fn go(&mut self, from: &[Part], to: Part) -> Result<(), Expected> {
        if !from.contains(&self.part) || self.connections.is_empty() && to != Part::Witnesses {
            return Err(ORDER);
        }
        self.part = to;
        Ok(())
    }

    fn begin_server(&mut self, number: usize, rest: &str) -> Result<(), Expected> {
        // Without a session a server ends below its heading.
        if !matches!(self.part, Part::Between | Part::Sessions) || number != self.connections.len() + 1 {
            return Err("the next server, behind the last list of the one before");
        }
        let name = rest.split_once(" Hostname: ").map(|(_, name)| name.trim_end().to_owned());
        self.connections.push(Server { name, ..Server::default() });
        (self.part, self.said) = (Part::Server, Vec::new());
        Ok(())
    }

    fn heading(&mut self, line: &str) -> Option<Result<(), Expected>> {
        let (from, to): (&[Part], Part) = match line.trim_end() {
            "Sessions:" => (&[Part::Server], Part::Sessions),
            "Shares:" => {
                self.shares = 0;
                (&[Part::Session, Part::Channels], Part::Shares)
            }
            "MIDs:" => (&[Part::Shares, Part::Interfaces], Part::Mids),
            _ if line.starts_with("Extra Channels: ") => (&[Part::Session], Part::Channels),
            _ if line.starts_with("Server interfaces: ") => (&[Part::Shares], Part::Interfaces),
            _ => return None,
        };
        Some(self.go(from, to))
    }

    /// A numbered line of a list.
    fn listed(&mut self, number: usize, rest: &str) -> Result<(), Expected> {
        let part = self.part;
        let Some(connection) = self.connections.last_mut() else { return Ok(()) };
        // The second form is of SMB 1, with the server's own words behind it.
        let session = rest.strip_prefix(" Address: ").or_else(|| rest.strip_prefix(" Name: "));
        if let Some(session) = session {
            if !matches!(part, Part::Sessions | Part::Between) || number != connection.sessions + 1 {
                return Err("the next session, behind the last list of the one before");
            }
            connection.sessions += 1;
            let address = session.split(' ').next().and_then(parse_address);
            connection.addresses.extend(address.filter(|new| !connection.addresses.contains(new)));
            self.part = Part::Session;
            return Ok(());
        }
        if rest.starts_with(" IPC: ") || rest.starts_with(" \\\\") {
            if part != Part::Shares || number != self.shares || (number == 0) != rest.starts_with(" IPC: ") {
                return Err("the next share, below its heading");
            }
            self.shares += 1;
            if number > 0 {
                // The last ones are the client's, whatever the name holds.
                let (name, _) = rest.rsplit_once(" Mounts: ").unwrap_or((rest, ""));
                connection.shares.push(name.rsplit('\\').next().unwrap_or(name).to_owned());
            }
        }
        Ok(())
    }

    /// A line that is neither a heading nor numbered.
    fn detail(&mut self, line: &str) -> Result<(), Expected> {
        let (part, said) = (self.part, &mut self.said);
        let Some(connection) = self.connections.last_mut() else { return Ok(()) };
        match part {
            Part::Server => read_server(connection, said, line)?,
            Part::Session => {
                let lost = line.starts_with("\tUser: ") && line.contains("\tPrimary channel: DISCONNECTED");
                connection.disconnected += usize::from(lost);
            }
            Part::Channels => {
                let lost = line.starts_with("\t\tIn Send: ") && line.contains("\tDISCONNECTED");
                connection.disconnected += usize::from(lost);
            }
            Part::Shares => {
                // Of what is printed of a share, these lines hold no words of others.
                let ours = ["\ttid: 0x", "\tPathComponentMax: "].iter().any(|ours| line.starts_with(ours));
                connection.disconnected += usize::from(ours && line.contains("\tDISCONNECTED"));
            }
            Part::Mids => connection.pending += usize::from(line.starts_with("\t\tState: ")),
            // Addresses the server offers for more channels: not who we talk to.
            Part::Interfaces | Part::Between | Part::Sessions | Part::Witnesses => {}
        }
        Ok(())
    }
}

const CREDITS: &str = "Number of credits: ";
const STATUS: &str = "TCP status: ";
const USERS: &str = "Local Users To Server: ";
const SENDING: &str = "In Send: ";

/// Reads what the client says of a server itself: of every line there is one.
fn read_server(connection: &mut Server, said: &mut Vec<&'static str>, line: &str) -> Result<(), Expected> {
    let Some(label) = [CREDITS, STATUS, USERS, SENDING].into_iter().find(|label| line.starts_with(label))
    else {
        return Ok(());
    };
    if said.contains(&label) {
        return Err(ONCE);
    }
    said.push(label);
    let after = |label: &str| line.split_once(label).and_then(|(_, rest)| numbers(rest).next()).flatten();
    match label {
        CREDITS => {
            connection.credits = gauge(after(CREDITS));
            let dialect = line.split_once(" Dialect 0x").and_then(|(_, rest)| rest.split(' ').next());
            connection.dialect = dialect.and_then(|dialect| u64::from_str_radix(dialect, 16).ok());
        }
        STATUS => {
            connection.status = gauge(after(STATUS)).map(ServerStatus::of);
            connection.instance = counter(after(" Instance: "));
        }
        USERS => connection.in_flight = gauge(after(" Req On Wire: ")),
        _ => {
            connection.sending = gauge(after(SENDING));
            connection.waiting_for_credits = gauge(after(" In MaxReq Wait: "));
        }
    }
    Ok(())
}

/// `1) rest`, at the very beginning.
fn numbered(line: &str) -> Option<(usize, &str)> {
    let (number, rest) = line.split_once(')')?;
    let digits = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    // One that is no number of ours is none that follows.
    digits.then(|| (number.parse().unwrap_or(usize::MAX), rest))
}

fn parse_address(text: &str) -> Option<IpAddr> {
    text.trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_silent_server_is_still_called_good_while_its_requests_pile_up() {
        let [server] = parse(fixture!("cifs/6.12-silent/DebugData")).unwrap().try_into().unwrap();
        assert_eq!(
            server,
            Server {
                name: Some("192.168.100.180".to_owned()),
                addresses: vec!["192.168.100.180".parse().unwrap()],
                status: Some(ServerStatus::Good),
                instance: Some(1),
                dialect: Some(0x311),
                credits: Some(5368),
                in_flight: Some(4),
                sending: Some(0),
                waiting_for_credits: Some(0),
                sessions: 1,
                disconnected: 0,
                shares: vec!["downloads".to_owned(), "media".to_owned()],
                pending: 4,
            }
        );
    }

    #[test]
    fn a_killed_server_needs_a_reconnect_and_so_do_its_session_and_shares() {
        let [server] = parse(fixture!("cifs/6.12-killed/DebugData")).unwrap().try_into().unwrap();
        assert_eq!((server.status, server.disconnected), (Some(ServerStatus::NeedReconnect), 4));
    }

    #[test]
    fn a_loaded_module_without_a_server_lists_none() {
        let text = b"Display Internal CIFS Data Structures for Debugging\n\nServers: \n\n";
        assert_eq!(parse(text).unwrap(), []);
        assert!(parse(b"something else").is_err());
    }

    /// The file of a node whose share, server or file system is called like this.
    fn with(place: &str, text: &str) -> Result<Vec<Server>, ParseError> {
        let file = String::from_utf8(fixture!("cifs/6.12-silent/DebugData").to_vec()).unwrap();
        assert!(file.contains(place), "{place}");
        parse(file.replacen(place, &format!("{place}{text}"), 1).as_bytes())
    }

    #[test]
    fn what_servers_and_mounts_are_called_forges_no_line() {
        let plain = parse(fixture!("cifs/6.12-silent/DebugData")).unwrap();
        let refused = |place: &str, text: &str| {
            let error = with(place, text).expect_err(text).to_string();
            assert!(error.contains("client") || error.contains("next"), "{text:?}: {error}");
        };
        let (server, share, ipc) = ("Hostname: 192.168.100.180", "\\media", "\\IPC$");
        for place in [server, share, ipc] {
            refused(place, "\n2) ConnectionId: 0x2 Hostname: forged ");
            refused(place, "\n\tMIDs: \n--\n");
            refused(place, "\n\t2) Address: 10.6.6.6 Uses: 1");
            refused(place, "\n\tSessions: \n\t1) Address: 10.6.6.6 Uses: 1");
            refused(place, "\n--\n");
            refused(place, "\nWitness registrations:\n");
        }
        refused(server, "\nTCP status: 3 Instance: 99");
        refused(server, "\nNumber of credits: 1 Dialect 0x202");
        refused(server, "\nIn Send: 9 In MaxReq Wait: 9");
        refused(server, "\nLocal Users To Server: 1 SecMode: 0x1 Req On Wire: 9");
        refused(share, "\n\t2) \\\\nas\\forged Mounts: 1 ");
        refused(share, "\n\n\tMIDs: \n--\n\t3) Address: 10.6.6.6 Uses: 1 ");

        // In one line nothing can be forged: the client's words count where it puts them.
        let forged = " TCP status: 3 Instance: 9 Req On Wire: 9 State: 2 MIDs: DISCONNECTED";
        let [named] = with(server, forged).unwrap().try_into().unwrap();
        assert_eq!(named.name.as_deref(), Some(format!("192.168.100.180{forged}").as_str()));
        assert_eq!(Server { name: plain[0].name.clone(), ..named }, plain[0]);
        let [shared] =
            with(share, " Mounts: 7 x Address: 10.6.6.6 DISCONNECTED").unwrap().try_into().unwrap();
        assert_eq!(shared.shares, ["downloads", "media Mounts: 7 x Address: 10.6.6.6 DISCONNECTED"]);
        assert_eq!(Server { shares: plain[0].shares.clone(), ..shared }, plain[0]);
    }

    #[test]
    fn several_servers_and_sessions_are_told_apart() {
        let session = |number: usize, address: &str| {
            format!(
                "\n\t{number}) Address: {address} Uses: 1 Capability: 0x300047\tSession Status: 1 \
                 \n\tSecurity type: RawNTLMSSP  SessionId: 0x1\n\tUser: 0 Cred User: 0\n\n\tShares: \
                 \n\t0) IPC: \\\\nas\\IPC$ Mounts: 1 DevInfo: 0x0 Attributes: 0x0\n\ttid: 0x1\tMaximal Access: 0x1\n\
                 \n\t1) \\\\nas\\s{number} Mounts: 1 DevInfo: 0x0 Attributes: 0x0\n\ttid: 0x1\tMaximal Access: 0x1\tDISCONNECTED \n\
                 \n\n\tMIDs: \n\tServer ConnectionId: 0x1\n\t\tState: 2 com: 5 pid: 1 cbdata: 0 mid 1\n--\n"
            )
        };
        let server = |number: usize, sessions: &str| {
            format!(
                "\n{number}) ConnectionId: 0x{number} Hostname: nas{number} \nNumber of credits: -1 Dialect 0x311\
                 \nTCP status: 1 Instance: -2\nLocal Users To Server: 1 SecMode: 0x1 Req On Wire: 1\
                 \nIn Send: 0 In MaxReq Wait: 0\n\n\tSessions: {sessions}"
            )
        };
        let two = session(1, "10.0.0.1") + &session(2, "10.0.0.2");
        let text = format!(
            "Servers: {}{}{}\nWitness registrations:\n9) ConnectionId: 0x9 Hostname: forged ",
            server(1, &two),
            server(2, "\n\t\t[NONE]"),
            server(3, &session(1, "10.0.0.3"))
        );
        let [first, second, third] = parse(text.as_bytes()).unwrap().try_into().unwrap();
        assert_eq!((first.sessions, first.addresses.len(), first.shares.len()), (2, 2, 2));
        assert_eq!((first.disconnected, first.pending), (2, 2));
        assert_eq!((second.name.as_deref(), second.sessions, third.sessions), (Some("nas2"), 0, 1));
        // Printed with a sign: a count that went beyond 2^31 goes on, and a negative number of credits is none.
        assert_eq!((first.instance, first.credits), (Some((1 << 32) - 2), None));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_real_file_cut_or_spoilt_anywhere_is_survived(at in 0_usize..3000, bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let mut file = fixture!("cifs/6.12-silent/DebugData").to_vec();
            file.splice(at.min(file.len())..(at + bytes.len()).min(file.len()), bytes);
            let _ = parse(&file);
            file.truncate(at);
            let _ = parse(&file);
        }
    }
}
