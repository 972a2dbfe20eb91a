//! The expressions that rules are made of, as nf_tables takes them: each loads something into a register, compares
//! registers, or ends with a verdict. A rule ends early at the first comparison or look-up that fails.
//!
//! A register has four bytes; what is longer goes on in the next, and each part of a concatenation begins a new one.

use crate::netlink::Attributes;
use crate::netlink::uapi::*;

/// One of the sixteen registers of four bytes.
#[derive(Debug, Clone, Copy)]
pub struct Register(pub u32);

impl Register {
    fn number(self) -> u32 {
        NFT_REG32_00 + self.0
    }
}

/// Whether a comparison or look-up is to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Match,
    NoMatch,
}

/// Which end of a packet's way.
#[derive(Debug, Clone, Copy)]
pub enum Direction {
    In,
    Out,
}

/// Where an IPv4 packet has its addresses.
#[derive(Debug, Clone, Copy)]
pub enum Address {
    Source,
    Destination,
}

impl Address {
    fn offset(self) -> u32 {
        match self {
            Address::Source => 12,
            Address::Destination => 16,
        }
    }
}

/// Writes the expressions of one rule.
pub struct Rule<'a, 'b>(pub &'a mut Attributes<'b>);

impl Rule<'_, '_> {
    /// The packet comes in, or goes out, through that link.
    pub fn through(&mut self, direction: Direction, link: &str) {
        let key = match direction {
            Direction::In => NFT_META_IIFNAME,
            Direction::Out => NFT_META_OIFNAME,
        };
        let mut name = [0; 16];
        name[..link.len()].copy_from_slice(link.as_bytes());
        self.meta(key, Register(0));
        self.compare(Register(0), Wanted::Match, &name);
    }

    /// The address begins with these bytes.
    pub fn address_begins(&mut self, which: Address, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.payload(NFT_PAYLOAD_NETWORK_HEADER, which.offset(), length, Register(0));
        self.compare(Register(0), Wanted::Match, bytes);
    }

    /// The address is no multicast one (224.0.0.0/4).
    pub fn not_to_multicast(&mut self) {
        self.payload(NFT_PAYLOAD_NETWORK_HEADER, Address::Destination.offset(), 4, Register(0));
        self.mask(Register(0), &[0xf0, 0, 0, 0]);
        self.compare(Register(0), Wanted::NoMatch, &[224, 0, 0, 0]);
    }

    /// The packet is for an address of this host.
    pub fn destined_here(&mut self) {
        self.add("fib", |fib| {
            fib.be32(NFTA_FIB_DREG, Register(0).number());
            fib.be32(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
            fib.be32(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
        });
        self.compare(Register(0), Wanted::Match, &RTN_LOCAL.to_ne_bytes());
    }

    /// The packet's destination was translated.
    pub fn destination_translated(&mut self) {
        self.add("ct", |ct| {
            ct.be32(NFTA_CT_DREG, Register(0).number());
            ct.be32(NFTA_CT_KEY, NFT_CT_STATUS);
        });
        self.mask(Register(0), &IPS_DST_NAT.to_ne_bytes());
        self.compare(Register(0), Wanted::NoMatch, &[0; 4]);
    }

    /// Loads an address.
    pub fn address(&mut self, which: Address, into: Register) {
        self.payload(NFT_PAYLOAD_NETWORK_HEADER, which.offset(), 4, into);
    }

    /// Loads the number of the transport protocol.
    pub fn transport_protocol(&mut self, into: Register) {
        self.meta(NFT_META_L4PROTO, into);
    }

    /// Loads the destination port; TCP, UDP and SCTP have it in the same place.
    pub fn destination_port(&mut self, into: Register) {
        self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, into);
    }

    /// Loads the destination port that the flow's first packet had, before it was translated.
    pub fn original_destination_port(&mut self, into: Register) {
        self.add("ct", |ct| {
            ct.be32(NFTA_CT_DREG, into.number());
            ct.be32(NFTA_CT_KEY, NFT_CT_PROTO_DST);
            ct.u8(NFTA_CT_DIRECTION, IP_CT_DIR_ORIGINAL);
        });
    }

    /// What is in the registers is, or is not, in a set.
    pub fn in_set(&mut self, set: &str, from: Register, wanted: Wanted) {
        self.add("lookup", |lookup| {
            lookup.text(NFTA_LOOKUP_SET, set);
            lookup.be32(NFTA_LOOKUP_SREG, from.number());
            if wanted == Wanted::NoMatch {
                lookup.be32(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
            }
        });
    }

    /// Replaces what is in the registers by what a map has for it.
    pub fn map(&mut self, map: &str, from: Register, into: Register) {
        self.add("lookup", |lookup| {
            lookup.text(NFTA_LOOKUP_SET, map);
            lookup.be32(NFTA_LOOKUP_SREG, from.number());
            lookup.be32(NFTA_LOOKUP_DREG, into.number());
        });
    }

    /// Sends the flow to the address and port in two registers.
    pub fn translate_destination(&mut self, address: Register, port: Register) {
        self.add("nat", |nat| {
            nat.be32(NFTA_NAT_TYPE, NFT_NAT_DNAT);
            nat.be32(NFTA_NAT_FAMILY, u32::from(NFPROTO_IPV4));
            nat.be32(NFTA_NAT_REG_ADDR_MIN, address.number());
            nat.be32(NFTA_NAT_REG_PROTO_MIN, port.number());
        });
    }

    /// Has the flow come from the host's address at the link that it leaves through. Source ports are chosen at random:
    /// flows that begin at the same time would else compete for the same one, and the loser's first packet be lost.
    pub fn masquerade(&mut self) {
        self.add("masq", |masq| masq.be32(NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY));
    }

    pub fn drop(&mut self) {
        self.verdict(|verdict| verdict.be32(NFTA_VERDICT_CODE, NF_DROP));
    }

    pub fn jump(&mut self, chain: &str) {
        self.verdict(|verdict| {
            verdict.bytes(NFTA_VERDICT_CODE, &NFT_JUMP.to_be_bytes());
            verdict.text(NFTA_VERDICT_CHAIN, chain);
        });
    }

    fn meta(&mut self, key: u32, into: Register) {
        self.add("meta", |meta| {
            meta.be32(NFTA_META_DREG, into.number());
            meta.be32(NFTA_META_KEY, key);
        });
    }

    fn payload(&mut self, base: u32, offset: u32, length: u32, into: Register) {
        self.add("payload", |payload| {
            payload.be32(NFTA_PAYLOAD_DREG, into.number());
            payload.be32(NFTA_PAYLOAD_BASE, base);
            payload.be32(NFTA_PAYLOAD_OFFSET, offset);
            payload.be32(NFTA_PAYLOAD_LEN, length);
        });
    }

    fn mask(&mut self, register: Register, mask: &[u8; 4]) {
        self.add("bitwise", |bitwise| {
            bitwise.be32(NFTA_BITWISE_SREG, register.number());
            bitwise.be32(NFTA_BITWISE_DREG, register.number());
            bitwise.be32(NFTA_BITWISE_LEN, 4);
            bitwise.nest(NFTA_BITWISE_MASK, |data| data.bytes(NFTA_DATA_VALUE, mask));
            bitwise.nest(NFTA_BITWISE_XOR, |data| data.bytes(NFTA_DATA_VALUE, &[0; 4]));
        });
    }

    fn compare(&mut self, register: Register, wanted: Wanted, value: &[u8]) {
        self.add("cmp", |cmp| {
            cmp.be32(NFTA_CMP_SREG, register.number());
            cmp.be32(NFTA_CMP_OP, if wanted == Wanted::Match { NFT_CMP_EQ } else { NFT_CMP_NEQ });
            cmp.nest(NFTA_CMP_DATA, |data| data.bytes(NFTA_DATA_VALUE, value));
        });
    }

    fn verdict(&mut self, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.add("immediate", |immediate| {
            immediate.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
            immediate.nest(NFTA_IMMEDIATE_DATA, |data| data.nest(NFTA_DATA_VERDICT, fill));
        });
    }

    fn add(&mut self, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.0.nest(NFTA_LIST_ELEM, |expression| {
            expression.text(NFTA_EXPR_NAME, name);
            expression.nest(NFTA_EXPR_DATA, fill);
        });
    }
}
