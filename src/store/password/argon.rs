//! Argon2id as Dovecot writes it: `$argon2id$v=19$m=65536,t=3,p=1$salt$hash` (RFC 9106).

use super::NoMemory;
use crate::limits::{ARGON2_LANES_MAX, ARGON2_MEMORY_MAX, ARGON2_WORK_MAX};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64ct::{Base64Unpadded, Encoding};

/// The hash of a password, its salt, and the cost of computing it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Argon {
    cost: Cost,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// The cost of computing a hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// In KiB.
    pub memory: u32,
    pub passes: u32,
    pub lanes: u32,
}

impl Argon {
    /// Reads from `$argon2id` on.
    pub fn parse(text: &str) -> Result<Argon, &'static str> {
        const DAMAGED: &str = "the hash is damaged";
        let mut fields = text.strip_prefix("$argon2id$").ok_or(DAMAGED)?.split('$');
        let (version, cost) = (fields.next(), fields.next());
        let (salt, hash) = (fields.next().ok_or(DAMAGED)?, fields.next().ok_or(DAMAGED)?);
        if version != Some("v=19") || fields.next().is_some() {
            return Err(DAMAGED);
        }
        let cost = cost.and_then(Cost::parse).ok_or(DAMAGED)?;
        cost.check()?;
        let decode = |text: &str| Base64Unpadded::decode_vec(text).map_err(|_| DAMAGED);
        let (salt, hash) = (decode(salt)?, decode(hash)?);
        match (8..=64).contains(&salt.len()) && (16..=64).contains(&hash.len()) {
            true => Ok(Argon { cost, salt, hash }),
            false => Err(DAMAGED),
        }
    }

    /// Computes the hash of a password. `salt`: 8 to 64 octets; the cost must have been checked.
    pub fn make(password: &[u8], salt: &[u8], cost: Cost) -> Result<Argon, NoMemory> {
        let hash = cost.hash(password, salt, 32)?;
        Ok(Argon { cost, salt: salt.to_owned(), hash })
    }

    pub fn text(&self) -> String {
        let Cost { memory, passes, lanes } = self.cost;
        let salt = Base64Unpadded::encode_string(&self.salt);
        let hash = Base64Unpadded::encode_string(&self.hash);
        format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
    }

    pub fn verify(&self, password: &[u8]) -> Result<bool, NoMemory> {
        let found = self.cost.hash(password, &self.salt, self.hash.len())?;
        Ok(verify_slices_are_equal(&found, &self.hash).is_ok())
    }
}

impl Cost {
    /// `m=65536,t=3,p=1`, in this order.
    fn parse(text: &str) -> Option<Cost> {
        let mut parts = text.split(',');
        let mut number = |name: &str| parts.next()?.strip_prefix(name)?.parse().ok();
        let cost = Cost { memory: number("m=")?, passes: number("t=")?, lanes: number("p=")? };
        parts.next().is_none().then_some(cost)
    }

    /// A mistyped digit in the file must not take all memory or time of the machine.
    fn check(&self) -> Result<(), &'static str> {
        let work = u64::from(self.memory) * u64::from(self.passes);
        if self.memory > ARGON2_MEMORY_MAX {
            return Err("it asks for more than 1 GiB of memory");
        }
        if work > ARGON2_WORK_MAX || self.lanes > ARGON2_LANES_MAX {
            return Err("it takes too long");
        }
        self.params(32).map(|_| ()).ok_or("its cost makes no sense")
    }

    fn params(&self, length: usize) -> Option<Params> {
        Params::new(self.memory, self.passes, self.lanes, Some(length)).ok()
    }

    fn hash(&self, password: &[u8], salt: &[u8], length: usize) -> Result<Vec<u8>, NoMemory> {
        let params = self.params(length).ok_or(NoMemory)?;
        // Reserved here, because the library would end the process where there is no memory.
        let mut blocks: Vec<Block> = Vec::new();
        blocks.try_reserve_exact(params.block_count()).map_err(|_| NoMemory)?;
        blocks.resize(params.block_count(), Block::default());
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut hash = vec![0; length];
        let done = argon.hash_password_into_with_memory(password, salt, &mut hash, &mut blocks);
        done.map(|()| hash).map_err(|_| NoMemory)
    }
}
const _: () = assert!(ARGON2_MEMORY_MAX == 1024 * 1024); // the message names it
