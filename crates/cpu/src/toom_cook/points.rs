//! The points at which polynomials are evaluated, and the matrices that follow from them, in exact
//! arithmetic at compile time.
//!
//! A tile of `alpha` points computes `outputs = alpha − kernel + 1` outputs of one dimension. The
//! kernel is evaluated without any scaling, `U(p) = Σ_k w_k · p^k`; the transform of the input
//! carries all divisions. So the kernel's values depend on the points alone, and since a tile of
//! `alpha` takes the first `alpha` of [`POINTS`], tiles of every size share them.

/// Points of the largest tile. Nine points lose two more digits of a float: never nine.
pub(super) const MOST: usize = 8;

/// Points of the smallest tile.
pub(super) const FEWEST: usize = 4;

/// A fraction in lowest terms, its denominator positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rational {
    numerator: i64,
    denominator: i64,
}

impl Rational {
    const ZERO: Self = Self::new(0, 1);
    const ONE: Self = Self::new(1, 1);

    const fn new(numerator: i64, denominator: i64) -> Self {
        let (mut a, mut b) = (numerator.abs(), denominator.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor = if denominator < 0 { -a } else { a };
        Self { numerator: numerator / divisor, denominator: denominator / divisor }
    }

    const fn add(self, other: Self) -> Self {
        let numerator = self.numerator * other.denominator + other.numerator * self.denominator;
        Self::new(numerator, self.denominator * other.denominator)
    }

    const fn sub(self, other: Self) -> Self {
        self.add(other.mul(Self::new(-1, 1)))
    }

    const fn mul(self, other: Self) -> Self {
        Self::new(self.numerator * other.numerator, self.denominator * other.denominator)
    }

    const fn div(self, other: Self) -> Self {
        self.mul(Self::new(other.denominator, other.numerator))
    }

    const fn to_f32(self) -> f32 {
        (self.numerator as f64 / self.denominator as f64) as f32
    }
}

/// Infinity, zero, and then opposite pairs, the mildest first: in an opposite pair even and odd
/// powers are summed once for both.
pub(super) const POINTS: [Option<Rational>; MOST] = [
    None,
    Some(Rational::ZERO),
    Some(Rational::ONE),
    Some(Rational::new(-1, 1)),
    Some(Rational::new(2, 1)),
    Some(Rational::new(-2, 1)),
    Some(Rational::new(1, 2)),
    Some(Rational::new(-1, 2)),
];

/// Where in [`POINTS`] 1 is: there values are plain sums. The smallest tile has it.
pub(super) const ONE: usize = 2;

type Exact = [[Rational; MOST]; MOST];

/// A matrix as kernels use it; what lies outside its size is zero.
pub(super) type Table = [[f32; MOST]; MOST];

/// Row p: the powers `0..coefficients` of point p; at infinity the highest alone counts.
const fn exact_evaluation(coefficients: usize) -> Exact {
    let mut rows = [[Rational::ZERO; MOST]; MOST];
    let mut p = 0;
    while p < MOST {
        if let Some(point) = POINTS[p] {
            let (mut power, mut k) = (Rational::ONE, 0);
            while k < coefficients {
                rows[p][k] = power;
                power = power.mul(point);
                k += 1;
            }
        } else {
            rows[p][coefficients - 1] = Rational::ONE;
        }
        p += 1;
    }
    rows
}

/// Row p: the coefficients of the polynomial that is 1 at point p and 0 at the other finite ones of
/// the first `alpha`; at infinity of the one that is 0 at all of them and begins with 1.
///
/// These rows turn `alpha` inputs into what is multiplied with the kernel's values; summed by the
/// powers of the points, the products are the outputs (see the test).
const fn exact_interpolation(alpha: usize) -> Exact {
    let mut rows = [[Rational::ZERO; MOST]; MOST];
    let mut p = 0;
    while p < alpha {
        let (mut divisor, mut q) = (Rational::ONE, 1);
        rows[p][0] = Rational::ONE;
        while q < alpha {
            if let Some(other) = POINTS[q]
                && q != p
            {
                rows[p] = times_root(rows[p], other);
                if let Some(point) = POINTS[p] {
                    divisor = divisor.mul(point.sub(other));
                }
            }
            q += 1;
        }
        let mut k = 0;
        while k < alpha {
            rows[p][k] = rows[p][k].div(divisor);
            k += 1;
        }
        p += 1;
    }
    rows
}

/// `polynomial · (x − root)`
const fn times_root(polynomial: [Rational; MOST], root: Rational) -> [Rational; MOST] {
    let mut product = [Rational::ZERO; MOST];
    let mut k = 0;
    while k < MOST {
        let below = if k == 0 { Rational::ZERO } else { polynomial[k - 1] };
        product[k] = below.sub(root.mul(polynomial[k]));
        k += 1;
    }
    product
}

const fn rounded(exact: Exact, rows: usize) -> Table {
    let mut table = [[0.0; MOST]; MOST];
    let mut i = 0;
    while i < rows {
        let mut k = 0;
        while k < MOST {
            table[i][k] = exact[i][k].to_f32();
            k += 1;
        }
        i += 1;
    }
    table
}

/// (`alpha`, `coefficients`): values at the points from coefficients.
pub(super) const fn evaluation(alpha: usize, coefficients: usize) -> Table {
    rounded(exact_evaluation(coefficients), alpha)
}

/// (`alpha`, `alpha`): the transform of `alpha` inputs.
pub(super) const fn interpolation(alpha: usize) -> Table {
    rounded(exact_interpolation(alpha), alpha)
}

/// Whether rows `i` and `i + 1` belong to points p and −p and differ in nothing but the sign of odd
/// columns.
pub(super) const fn is_mirrored(table: &Table, i: usize) -> bool {
    if i < 2 || i % 2 == 1 || i + 1 >= MOST {
        return false;
    }
    let (mut k, mut all_zero) = (0, true);
    while k < MOST {
        let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
        if table[i + 1][k] != sign * table[i][k] {
            return false;
        }
        all_zero &= table[i][k] == 0.0;
        k += 1;
    }
    !all_zero
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_of_every_size_give_the_exact_correlation() {
        for alpha in FEWEST..=MOST {
            for kernel in 1..=alpha {
                for seed in 0..20 {
                    check_correlation(alpha, kernel, seed);
                }
            }
        }
    }

    fn check_correlation(alpha: usize, kernel: usize, seed: i64) {
        let outputs = alpha + 1 - kernel;
        let integer = |i: usize| Rational::new((i as i64 * 7919 + seed * 104_729) % 19 - 9, 1);
        let inputs: [Rational; MOST] = std::array::from_fn(integer);
        let weights: [Rational; MOST] = std::array::from_fn(|i| integer(i + 50));
        let dot = |a: &[Rational], b: &[Rational]| {
            a.iter().zip(b).fold(Rational::ZERO, |sum, (a, b)| sum.add(a.mul(*b)))
        };
        let (from_inputs, from_weights) = (exact_interpolation(alpha), exact_evaluation(kernel));
        let products: Vec<Rational> = (0..alpha)
            .map(|p| {
                let input = dot(&from_inputs[p][..alpha], &inputs);
                input.mul(dot(&from_weights[p][..kernel], &weights))
            })
            .collect();
        let powers = exact_evaluation(outputs);
        for output in 0..outputs {
            let column: Vec<Rational> = powers.iter().map(|row| row[output]).collect();
            let expected = dot(&inputs[output..output + kernel], &weights[..kernel]);
            let found = dot(&products, &column);
            assert_eq!(found, expected, "alpha {alpha} kernel {kernel} output {output}");
        }
    }

    #[test]
    fn sums_are_shared_by_opposite_points() {
        let pairs = |table: &Table| (0..MOST).filter(|&i| is_mirrored(table, i)).count();
        // Inputs of tiles with an opposite for every point; kernels as far as the pairs go.
        for (alpha, of_inputs, of_kernels) in
            [(4, 1, 1), (5, 0, 1), (6, 2, 2), (7, 0, 2), (8, 3, 3)]
        {
            assert_eq!(pairs(&interpolation(alpha)), of_inputs, "alpha {alpha}");
            assert_eq!(pairs(&evaluation(alpha, 3)), of_kernels, "alpha {alpha}");
        }
    }
}
