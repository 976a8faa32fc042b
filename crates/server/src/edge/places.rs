//! How many connections there may be: in all, and from one address; and what is counted of an address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

/// The places connections take.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    per_address: usize,
    /// Proxies: whoever is behind them comes from their address.
    exempt: Vec<IpNet>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, OfAddress>,
}

#[derive(Debug, Default)]
struct OfAddress {
    places: usize,
    /// Bytes it holds, counted by whoever has one of its places.
    bytes: Arc<AtomicUsize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Address,
}

/// A place of a connection, until this is dropped: when the connection has ended, and the last request it left running.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    /// None for a proxy's.
    address: Option<(IpAddr, Arc<AtomicUsize>)>,
}

impl Place {
    /// The bytes its address holds; none for a proxy's.
    pub(super) fn bytes(&self) -> Option<&AtomicUsize> {
        self.address.as_ref().map(|(_, bytes)| &**bytes)
    }
}

impl Places {
    pub(super) fn new(most: usize, per_address: usize, exempt: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { most, per_address, exempt, taken: Mutex::default() })
    }

    /// A place for a connection from this address.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Full> {
        let peer = peer.to_canonical();
        let address = (!self.exempt.iter().any(|range| range.contains(&peer))).then(|| whose(peer));
        let mut taken = self.taken();
        if taken.all >= self.most {
            return Err(Full::All);
        }
        let address = match address {
            None => None,
            Some(address) => {
                let of_address = taken.by_address.entry(address).or_default();
                // Whoever has a place has an entry already: a refusal leaves none behind.
                if of_address.places >= self.per_address {
                    return Err(Full::Address);
                }
                of_address.places += 1;
                Some((address, Arc::clone(&of_address.bytes)))
            }
        };
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), address })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Numbers only: they are right whoever panicked.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some((address, _)) = &self.address
            && let Some(of_address) = taken.by_address.get_mut(address)
        {
            of_address.places -= 1;
            if of_address.places == 0 {
                taken.by_address.remove(address);
            }
        }
    }
}

/// What one client has of its own: an address, or with IPv6 a network of them.
fn whose(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn places_are_bounded_in_all_and_by_address() {
        let places = Places::new(4, 2, vec!["10.0.0.0/8".parse().expect("a range")]);
        let take = |peer: &str| places.take(at(peer));
        let mut held = vec![take("192.0.2.1"), take("::ffff:192.0.2.1")];
        assert_eq!(take("192.0.2.1").map(drop), Err(Full::Address), "written differently, it is the same address");
        held.push(take("2001:db8::1"));
        held.push(take("2001:db8::2"));
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(take("192.0.2.9").map(drop), Err(Full::All));
        held.clear();
        let _one = (take("2001:db8::1"), take("2001:db8:0:0:1::1"));
        assert_eq!(take("2001:db8::3").map(drop), Err(Full::Address), "one network is one client");
        assert!(places.taken().by_address.len() == 1);
        drop(_one);
        let proxied: Vec<_> = (0..4).map(|_| take("10.1.2.3")).collect();
        assert!(proxied.iter().all(Result::is_ok), "a proxy stands for many");
        assert_eq!(take("10.1.2.3").map(drop), Err(Full::All));
    }
}
