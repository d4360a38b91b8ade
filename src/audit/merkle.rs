//! The Merkle tree of a segment (RFC 6962 §2.1), grown leaf by leaf in memory of its logarithm.

use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::hash::Hash;

/// The roots of the full subtrees from left to right, each with its height; heights fall strictly.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    leaves: u64,
    subtrees: SmallVec<[(u32, Hash); 24]>,
}

impl Tree {
    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        self.leaves += 1;
        let (mut height, mut hash) = (0, leaf);
        while let Some(&(other, left)) = self.subtrees.last()
            && other == height
        {
            self.subtrees.pop();
            (height, hash) = (height + 1, Hash::of_node(left, hash));
        }
        self.subtrees.push((height, hash));
    }

    /// How many leaves there are.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The root; of no leaves, the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut subtrees = self.subtrees.iter().rev().map(|&(_, hash)| hash);
        match subtrees.next() {
            None => Hash(Sha256::digest([]).into()),
            Some(last) => subtrees.fold(last, |right, left| Hash::of_node(left, right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves and roots that certificate transparency's own tests use (`merkletree/merkle_tree_test.cc`).
    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let leaves: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Tree::default();
        assert_eq!(tree.root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (leaf, root) in leaves.iter().zip(roots) {
            tree.push(Hash::of_record(leaf));
            assert_eq!(tree.root().to_string(), root, "of {}", tree.leaves());
        }
    }
}
