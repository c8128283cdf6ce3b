//! Linux's `ip=` argument (`Documentation/admin-guide/nfs/nfsroot.rst`):
//! `client:server:gateway:netmask:hostname:device:autoconf…`, of which this runtime uses the client, the
//! gateway and the netmask. Automatic configuration is left out: the node knows the address.

use core::fmt;
use core::net::Ipv4Addr;

/// A static IPv4 configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpConfig {
    /// Our own address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix, 0 to 32.
    pub prefix_len: u8,
    /// Where packets to other networks go.
    pub gateway: Option<Ipv4Addr>,
}

/// What is wrong with an `ip=` argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IpError {
    /// The client field is empty or no unicast IPv4 address.
    Address,
    /// The gateway is no IPv4 address.
    Gateway,
    /// The netmask is missing, no IPv4 address, or its ones are not all at the left.
    Netmask,
}

impl fmt::Display for IpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IpError::Address => "the first field must be this guest's IPv4 address",
            IpError::Gateway => "the third field must be the gateway's IPv4 address, or empty",
            IpError::Netmask => "the fourth field must be a netmask such as 255.255.255.0",
        })?;
        f.write_str("; expected ip=CLIENT::GATEWAY:NETMASK:HOSTNAME:eth0:off")
    }
}

impl IpConfig {
    /// Parses what follows `ip=`.
    ///
    /// # Errors
    /// The first field that is not usable.
    pub fn parse(argument: &str) -> Result<Self, IpError> {
        let mut fields = argument.split(':');
        let client = fields.next().unwrap_or_default();
        let gateway = fields.nth(1).unwrap_or_default();
        let netmask = fields.next().unwrap_or_default();

        let address: Ipv4Addr = client.parse().map_err(|_| IpError::Address)?;
        if address.is_unspecified() || address.is_broadcast() || address.is_multicast() {
            return Err(IpError::Address);
        }
        let gateway = match gateway {
            "" => None,
            text => Some(text.parse().map_err(|_| IpError::Gateway)?),
        };
        let mask = netmask.parse::<Ipv4Addr>().map_err(|_| IpError::Netmask)?.to_bits();
        if mask.leading_ones() + mask.trailing_zeros() != 32 {
            return Err(IpError::Netmask);
        }
        Ok(IpConfig { address, prefix_len: mask.leading_ones() as u8, gateway })
    }

    /// Whose link address packets to `destination` go to: its own on this network, the gateway's on others.
    pub fn next_hop(&self, destination: Ipv4Addr) -> Ipv4Addr {
        let differs = self.address.to_bits() ^ destination.to_bits();
        let here = differs.leading_zeros() >= u32::from(self.prefix_len);
        self.gateway.filter(|_| !here).unwrap_or(destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_own_form_is_understood() {
        assert_eq!(
            IpConfig::parse("10.0.2.20::10.0.2.2:255.255.255.0:www:eth0:off"),
            Ok(IpConfig {
                address: Ipv4Addr::new(10, 0, 2, 20),
                prefix_len: 24,
                gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
            })
        );
        let lonely = IpConfig::parse("10.0.2.20:::255.255.255.255").unwrap();
        assert_eq!((lonely.prefix_len, lonely.gateway), (32, None));
        assert_eq!(IpConfig::parse("10.0.2.20:::0.0.0.0").unwrap().prefix_len, 0);
    }

    #[test]
    fn other_networks_are_behind_the_gateway() {
        let ip = IpConfig::parse("10.0.2.20::10.0.2.2:255.255.255.0").unwrap();
        let next_hop = |destination: [u8; 4]| ip.next_hop(destination.into()).octets();
        assert_eq!(next_hop([10, 0, 2, 255]), [10, 0, 2, 255]);
        assert_eq!(next_hop([10, 0, 3, 0]), [10, 0, 2, 2]);
        assert_eq!(IpConfig { gateway: None, ..ip }.next_hop([1, 1, 1, 1].into()).octets(), [1, 1, 1, 1]);
        assert_eq!(IpConfig { prefix_len: 0, ..ip }.next_hop([1, 1, 1, 1].into()).octets(), [1, 1, 1, 1]);
    }

    #[test]
    fn bad_fields_are_named() {
        for (argument, error) in [
            ("", IpError::Address),
            ("dhcp", IpError::Address),
            ("0.0.0.0:::255.0.0.0", IpError::Address),
            ("224.0.0.1:::255.0.0.0", IpError::Address),
            ("10.0.2.300::10.0.2.2:255.255.255.0", IpError::Address),
            ("10.0.2.20::gw:255.255.255.0", IpError::Gateway),
            ("10.0.2.20", IpError::Netmask),
            ("10.0.2.20::10.0.2.2:", IpError::Netmask),
            ("10.0.2.20::10.0.2.2:255.0.255.0", IpError::Netmask),
        ] {
            assert_eq!(IpConfig::parse(argument), Err(error), "{argument}");
        }
    }
}
