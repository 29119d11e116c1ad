use super::*;
use proptest::prelude::*;

/// Parity `j` of `data`, all equally long.
fn parity(code: &Code, j: u8, data: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0xEE; data[0].len()];
    code.encode(j, data.iter().map(Vec::as_slice), &mut out);
    out
}

/// Row `k + j` of the matrix: parity of the unit vectors.
fn row(k: u8, j: u8) -> Vec<u8> {
    let unit = |c: u8| (0..k).map(|i| u8::from(i == c)).collect::<Vec<u8>>();
    let code = Code::new(255, k).expect("a code");
    parity(&code, j, &(0..k).map(unit).collect::<Vec<_>>())
}

fn random(rng: &mut fastrand::Rng, k: u8, len: usize) -> Vec<Vec<u8>> {
    (0..k)
        .map(|_| (0..len).map(|_| rng.u8(..)).collect())
        .collect()
}

/// Whether `rows` of the code word rebuild `data`.
fn rebuilds(code: &Code, data: &[Vec<u8>], rows: &[u8]) -> bool {
    let len = data[0].len();
    let share = |row: u8| match data.get(usize::from(row)) {
        Some(block) => block.clone(),
        None => parity(code, row - code.k(), data),
    };
    let shares: Vec<(u8, Vec<u8>)> = rows.iter().map(|row| (*row, share(*row))).collect();
    let shares: Vec<(u8, &[u8])> = shares.iter().map(|(row, b)| (*row, b.as_slice())).collect();
    let missing = (0..code.k()).filter(|row| !rows.contains(row));
    let missing: Vec<_> = missing
        .map(|row| (row, data[usize::from(row)].clone()))
        .collect();
    code.rebuild(&shares, len) == Some(missing)
}

#[test] // F-32
fn the_matrix_is_that_of_deployed_pgm() {
    let rows: [(u8, u8, &[u8]); 6] = [
        (2, 0, &[0x03, 0x02]),
        (2, 1, &[0x05, 0x04]),
        (4, 2, &[0x53, 0x02, 0x6F, 0x3F]),
        (4, 3, &[0xF1, 0x7B, 0x83, 0x08]),
        (8, 0, &[0x89, 0x18, 0xD0, 0x7D, 0x92, 0xA4, 0xF5, 0xFE]),
        (8, 1, &[0x36, 0xF8, 0xD0, 0xCE, 0x25, 0x19, 0xFB, 0x16]),
    ];
    for (k, j, expected) in rows {
        assert_eq!(row(k, j), expected, "k = {k}, parity {j}");
    }
    assert_eq!(row(1, 0), [1], "a group of one is repeated");
}

#[test] // F-32
fn parity_is_that_of_deployed_pgm() {
    let code = Code::new(255, 4).expect("a code");
    let data = [0x10, 0x20, 0x30, 0x40].map(|first| (first..first + 4).collect::<Vec<u8>>());
    let expected = [0x98999A9B_u32, 0xDADBD8D9, 0xBDBCBFBE, 0x3F3E3D3C];
    for (j, expected) in (0..).zip(expected) {
        assert_eq!(
            parity(&code, j, &data),
            expected.to_be_bytes(),
            "parity {j}"
        );
    }
}

/// Vandermonde matrix times the inverse of its top square by elimination: the definition.
#[test] // F-32
fn coefficients_agree_with_the_inverted_matrix() {
    fn times(a: u8, b: u8) -> u8 {
        if a == 0 || b == 0 {
            0
        } else {
            exp(u32::from(log(a) + log(b)))
        }
    }
    let power = |x: u8, n: u8| (0..n).fold(1, |p, _| times(p, x));
    for k in [1, 2, 3, 5, 8, 16, 61, 128_u8] {
        let vandermonde = |r: u8| (0..k).map(|c| power(point(r), c)).collect::<Vec<u8>>();
        let top: Vec<Vec<u8>> = (0..k).map(vandermonde).collect();
        for r in [k, k + 1, 200, 254] {
            // x · top = vandermonde(r), one equation for each column.
            let equation = |(c, right): (usize, u8)| {
                let left = top.iter().map(|row| row[c]);
                left.chain([right]).collect::<Vec<u8>>()
            };
            let right = vandermonde(r).into_iter().enumerate();
            let mut rows: Vec<Vec<u8>> = right.map(equation).collect();
            for i in 0..usize::from(k) {
                let pivot = (i..rows.len()).find(|p| rows[*p][i] != 0).expect("regular");
                rows.swap(i, pivot);
                let by = exp(inverse(log(rows[i][i]).into()));
                let scaled: Vec<u8> = rows[i].iter().map(|x| times(*x, by)).collect();
                for (j, row) in rows.iter_mut().enumerate() {
                    let factor = row[i];
                    if j != i {
                        row.iter_mut()
                            .zip(&scaled)
                            .for_each(|(x, y)| *x ^= times(factor, *y));
                    }
                }
                rows[i] = scaled;
            }
            let solution: Vec<u8> = rows.iter().map(|row| row[usize::from(k)]).collect();
            assert_eq!(row(k, r - k), solution, "k = {k}, row {r}");
        }
    }
}

#[test] // F-31: exhaustive
fn any_k_of_n_blocks_rebuild_the_group() {
    let mut rng = fastrand::Rng::with_seed(2);
    for (k, h) in (1..=6)
        .flat_map(|k| (1..=4).map(move |h| (k, h)))
        .chain([(8, 3), (8, 8)])
    {
        let code = Code::new(k + h, k).expect("a code");
        let data = random(&mut rng, k, 5);
        for set in 0..1u32 << (k + h) {
            let rows: Vec<u8> = (0..k + h).filter(|row| set >> row & 1 == 1).collect();
            if rows.len() == usize::from(k) {
                assert!(rebuilds(&code, &data, &rows), "k = {k}: {rows:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test] // F-31
    fn large_groups_are_rebuilt(k in 1..=128_u8, h in 1..=127_u8, len in 0..70_usize, seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let n = k.saturating_add(h);
        let (code, data) = (Code::new(n, k).expect("a code"), random(&mut rng, k, len));
        let mut rows: Vec<u8> = (0..n).collect();
        rng.shuffle(&mut rows);
        prop_assert!(rebuilds(&code, &data, &rows[..usize::from(k)]));
    }

    #[test] // F-12: short blocks count as padded
    fn padding_makes_no_difference(k in 1..=20_u8, j in 0..20_u8, seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let code = Code::new(255, k).expect("a code");
        let short: Vec<Vec<u8>> = (0..k)
            .map(|_| (0..rng.usize(..=100)).map(|_| rng.u8(..)).collect())
            .collect();
        let mut padded = short.clone();
        padded.iter_mut().for_each(|block| block.resize(100, 0));
        let mut out = [vec![0; 100], vec![1; 100]];
        for (out, data) in out.iter_mut().zip([&short, &padded]) {
            code.encode(j, data.iter().map(Vec::as_slice), out);
        }
        prop_assert_eq!(&out[0], &out[1]);
        let mut shares: Vec<(u8, &[u8])> = (1..k).map(|row| (row, short[usize::from(row)].as_slice())).collect();
        shares.push((k + j, &out[0]));
        prop_assert_eq!(code.rebuild(&shares, 100), Some(vec![(0, padded[0].clone())]));
    }
}

#[test]
fn what_is_no_code_and_no_code_word_is_refused() {
    for (n, k) in [(255, 0), (255, 129), (4, 4), (3, 4), (0, 0)] {
        assert!(Code::new(n, k).is_none(), "n = {n}, k = {k}");
    }
    let code = Code::new(6, 3).expect("a code");
    let block = [1, 2, 3, 4];
    let rebuild = |shares: &[(u8, usize)]| {
        let shares: Vec<(u8, &[u8])> = shares
            .iter()
            .map(|(row, len)| (*row, &block[..*len]))
            .collect();
        code.rebuild(&shares, 3)
    };
    assert!(rebuild(&[(0, 3), (2, 1), (4, 3)]).is_some());
    assert_eq!(
        rebuild(&[(2, 0), (0, 3), (1, 2)]),
        Some(vec![]),
        "nothing is missing"
    );
    assert!(rebuild(&[(0, 3), (2, 1)]).is_none(), "too few");
    assert!(
        rebuild(&[(0, 3), (2, 1), (4, 3), (5, 3)]).is_none(),
        "too many"
    );
    assert!(rebuild(&[(0, 3), (4, 3), (4, 3)]).is_none(), "one twice");
    assert!(rebuild(&[(0, 3), (2, 1), (6, 3)]).is_none(), "no such row");
    assert!(
        rebuild(&[(0, 3), (2, 1), (4, 2)]).is_none(),
        "parity too short"
    );
    assert!(
        rebuild(&[(0, 4), (2, 1), (4, 3)]).is_none(),
        "data too long"
    );
}
