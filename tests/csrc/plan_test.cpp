// Checks plan.h, keys.h and floats.h on the host against brute force. Prints the first failure and
// exits with
// 1. With the argument "control" it makes a check that is false, and must fail.
#include "../../csrc/plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "../../csrc/floats.h"
#include "../../csrc/keys.h"
#include "check.h"

using namespace impcore;

namespace {

Random random_source;

int64_t below(int64_t bound) { return random_source.below(bound); }

void test_chunks() {
  const int64_t edges[] = {0, 1, 31, 32, 33, 65535, 65536, 65537, 200000};
  for (int round = 0; round < 200; ++round) {
    std::vector<int64_t> numels(size_t(below(6))), blocks(numels.size());
    for (int64_t& n : numels) n = edges[below(9)];
    for (int64_t& b : blocks) b = below(3);
    const int64_t count = count_chunks(numels.data(), int64_t(numels.size()));
    std::vector<Chunk> table(static_cast<size_t>(count + 1), Chunk{-7, -7, -7, -7, -7});
    fill_chunks(numels.data(), blocks.data(), int64_t(numels.size()), table.data());
    CHECK(table.back().tensor == -7);  // not one row more than counted
    size_t row = 0;
    int64_t word = 0;
    for (size_t t = 0; t < numels.size(); ++t) {
      for (int64_t covered = 0; covered < numels[t]; covered += table[row++].length) {
        const Chunk& chunk = table[row];
        CHECK(chunk.tensor == int64_t(t) && chunk.block == blocks[t]);
        CHECK(chunk.offset == covered && chunk.length > 0 && chunk.length <= kChunkLength);
        CHECK(chunk.word == word + covered / 32 && covered % 32 == 0);
      }
      word += (numels[t] + 31) / 32;
    }
    CHECK(int64_t(row) == count);
  }
}

void test_huge_sizes_need_64_bits() {
  const int64_t numels[] = {(int64_t(1) << 31) + 1, (int64_t(1) << 32) + 1000};
  const int64_t blocks[] = {0, 1};
  const int64_t count = count_chunks(numels, 2);
  std::vector<Chunk> table(static_cast<size_t>(count));
  fill_chunks(numels, blocks, 2, table.data());
  int64_t total = 0;
  for (const Chunk& chunk : table) total += chunk.length;
  CHECK(total == numels[0] + numels[1]);
  CHECK(table.back().offset + table.back().length == numels[1]);
  CHECK(table.back().word == ((numels[0] + 31) / 32) + table.back().offset / 32);
}

template <int64_t kPlace>
void test_sample_grid() {
  using Grid = SampleGrid<kPlace>;
  for (int round = 0; round < 2000; ++round) {
    const Grid grid(sample_share(below(int64_t(1) << (1 + below(34)))));
    Chunk chunk{0, 0, 1 + below(round % 2 ? kChunkLength : 300), below(1 << 20), 0};
    if (round % 8 == 0) chunk.length = kChunkLength;
    int64_t samples = 0;
    for (int64_t i = 0; i < grid.places(chunk); ++i) {
      const int64_t place = grid.place(chunk, i), taken = grid.taken(chunk, i);
      const int64_t from = i * grid.stride, to = std::min(from + grid.stride, chunk.length);
      CHECK(from <= place && place % Grid::kStep == 0 && place + taken <= to);
      CHECK(0 < taken && taken <= Grid::kLength);
      CHECK((taken - 1) * grid.stride < (to - from) * Grid::kLength);  // its share, rounded up
      samples += taken;
    }
    CHECK(samples == grid.samples(chunk));
  }
}

// Of places in which so many weights in a row are the same draw, the effect is that number.
void test_design_effect() {
  const int64_t place = 16;
  for (int64_t alike : {1, 2, 4, 16}) {
    const double q = 0.3;
    int64_t before = 0;
    double squares = 0, pairs = -1;
    for (int64_t p = 0; p < 40000; ++p, ++pairs) {
      int64_t here = 0;
      for (int64_t i = 0; i < place; i += alike) here += below(1000) < 300 ? alike : 0;
      if (p > 0) squares += double((here - before) * (here - before));
      before = here;
    }
    const double effect = design_effect(squares, pairs, q * (1 - q), place);
    CHECK(std::fabs(effect / double(alike) - 1) < 0.05);
  }
  CHECK(design_effect(0, 0, 0.2, place) == double(place));  // nothing is known
  CHECK(design_effect(0, 1e6, 0.2, place) == 1);
  CHECK(design_effect(1e9, 10, 0.2, place) == double(place));
  CHECK(design_effect(0, 0, 0, place) == 1);
}

void test_margins() {
  CHECK(sample_margin(16, 1e9) == 18 && sample_margin(16, 7) == 7);
  CHECK(widest_margin(100, 100, 50) == 50);
  for (int round = 0; round < 1000; ++round) {
    const int64_t total = 2 + below(int64_t(1) << 40), room = 1 + below(total - 1);
    const int64_t samples = 1 + below(1 << 20);
    // What lies between the ends is nine tenths of the room.
    const double inside = 2 * widest_margin(room, total, samples) / double(samples);
    CHECK(std::fabs(inside * double(total) / double(room) - 0.9) < 1e-9);
  }
}

void test_brackets_and_narrowing() {
  for (int round = 0; round < 3000; ++round) {
    // Few distinct keys in some rounds, the whole range in others.
    const int64_t spread = int64_t(1) << below(32);
    const int64_t start = below((int64_t(1) << 31) - spread + 1);
    std::vector<uint32_t> keys(size_t(1 + below(60)));
    for (uint32_t& key : keys) key = uint32_t(start + below(spread));
    std::sort(keys.begin(), keys.end());
    const int64_t k = 1 + below(int64_t(keys.size()));
    const uint32_t threshold = keys[size_t(k - 1)];

    const uint32_t a = uint32_t(start + below(spread)), b = uint32_t(start + below(spread));
    const Bracket some{std::min(a, b), std::max(a, b)};
    int64_t up_to_lo = 0, inside = 0;
    for (uint32_t key : keys) {
      up_to_lo += key <= some.lo;
      inside += key > some.lo && key < some.hi;
    }
    const Place place = place_of(k, up_to_lo, inside);
    if (k == up_to_lo) {  // every key up to lo goes and no candidate: no need to look at either
      CHECK(place == Place::kInside);
    } else {
      CHECK((place == Place::kUpToLo) == (threshold <= some.lo));
      CHECK((place == Place::kInside) == (threshold > some.lo && threshold < some.hi));
      CHECK((place == Place::kFromHi) == (threshold > some.lo && threshold >= some.hi));
    }

    Bracket range{0, kMaxKey};
    int64_t rank = k, passes = 0;
    while (range.lo < range.hi) {
      const int bits = 1 + int(below(11));
      const int shift = bin_shift(range, bits);
      CHECK((range.hi - range.lo) >> shift < 1u << bits);
      CHECK(shift == 0 || (range.hi - range.lo) >> (shift - 1) >= 1u << bits);
      std::vector<int64_t> bins(size_t(1) << bits, 0);
      int64_t lower = 0;
      for (uint32_t key : keys) {
        if (key >= range.lo && key <= range.hi) ++bins[(key - range.lo) >> shift];
      }
      const Bracket wider = range;
      const int64_t passed = narrow(bins.data(), shift, &range, &rank);
      CHECK(range.lo >= wider.lo && range.hi <= wider.hi &&
            range.hi - range.lo < wider.hi - wider.lo);
      for (uint32_t key : keys) lower += key >= wider.lo && key < range.lo;
      CHECK(passed == lower);
      CHECK(range.lo <= threshold && threshold <= range.hi);
      ++passes;
    }
    CHECK(range.lo == threshold);
    CHECK(passes <= 31);
  }
}

void test_quota() {
  for (int round = 0; round < 3000; ++round) {
    std::vector<int64_t> ties(size_t(below(8)));
    int64_t total = 0;
    for (int64_t& t : ties) total += t = below(4);
    const int64_t quota = below(total + 1);
    std::vector<int64_t> spread(ties.size());
    spread_quota(quota, ties.data(), spread.data(), int64_t(spread.size()));
    int64_t left = quota;  // one tie after the other, from the front
    for (size_t c = 0; c < ties.size(); ++c) {
      int64_t taken = 0;
      for (int64_t tie = 0; tie < ties[c] && left > 0; ++tie, --left) ++taken;
      CHECK(spread[c] == taken);
    }
  }
}

// A half-precision magnitude from its definition.
double decoded(uint32_t bits, int mantissa, int bias) {
  const int exponent = int(bits >> mantissa);
  const double fraction = double(bits & ((1u << mantissa) - 1));
  const double unit = std::ldexp(1.0, -mantissa);
  return exponent == 0 ? std::ldexp(fraction * unit, 1 - bias)
                       : std::ldexp(1 + fraction * unit, exponent - bias);
}

template <class T>
void test_half(int mantissa, int bias) {
  const uint32_t infinity = T::kInfinity >> 16;
  for (uint32_t bits = 0; bits < 0x8000u; ++bits) {
    const uint32_t key = T::key(uint16_t(bits));
    CHECK(key == T::key(uint16_t(bits | 0x8000u)) && key <= kMaxKey);
    CHECK(bits == 0 || T::key(uint16_t(bits - 1)) < key);
    const float magnitude = T::magnitude(key);
    if (bits < infinity) {
      CHECK(double(magnitude) == decoded(bits, mantissa, bias));
    } else {
      CHECK(key >= T::kInfinity);
      CHECK(bits == infinity ? std::isinf(magnitude) : std::isnan(magnitude));
    }
  }
}

// Every half survives float32; a float32 goes to the nearest half, in a tie to the even one.
template <class T>
void test_rounding(double (*decode)(uint32_t)) {
  const uint32_t infinity = T::kInfinity >> 16;
  for (uint32_t bits = 0; bits <= 0xffffu; ++bits) {
    const float wide = widen(T{}, bits);
    if ((bits & 0x7fffu) > infinity) {
      CHECK(std::isnan(wide) && (narrow_to(T{}, wide) & 0x7fffu) > infinity);
      continue;
    }
    CHECK(narrow_to(T{}, wide) == bits);
    CHECK(std::signbit(wide) == bits >> 15);
    const uint32_t magnitude = bits & 0x7fffu;
    CHECK(magnitude == infinity ? std::isinf(wide) : std::fabs(wide) == decode(magnitude));
    if (magnitude >= infinity - 1) continue;
    const double low = decode(magnitude), high = decode(magnitude + 1);
    const float middle = std::copysign(float((low + high) / 2), wide);
    const float beyond = std::copysign(INFINITY, wide);
    CHECK(narrow_to(T{}, middle) == bits + magnitude % 2);
    CHECK(narrow_to(T{}, std::nextafter(middle, 0.0f)) == bits);
    CHECK(narrow_to(T{}, std::nextafter(middle, beyond)) == bits + 1);
  }
  const double largest = decode(infinity - 1), step = largest - decode(infinity - 2);
  CHECK(narrow_to(T{}, std::nextafter(float(largest + step / 2), 0.0f)) == infinity - 1);
  CHECK(narrow_to(T{}, float(largest + step / 2)) == infinity);
}

void test_float32() {
  for (int round = 0; round < 100000; ++round) {
    const uint32_t a = uint32_t(random_source.next()), b = uint32_t(random_source.next());
    const float x = float_of_bits(a), y = float_of_bits(b);
    CHECK(bits_of_float(x) == a || std::isnan(x));
    CHECK(Float32::key(a) == Float32::key(a ^ 0x80000000u));
    if (std::isfinite(x) && std::isfinite(y)) {
      CHECK((Float32::key(a) < Float32::key(b)) == (std::fabs(x) < std::fabs(y)));
    }
    CHECK((Float32::key(a) < Float32::kInfinity) == bool(std::isfinite(x)));
  }
  CHECK(Float32::key(1) == 1 && Float32::magnitude(1) > 0);  // a subnormal is not zero
  CHECK(Float32::key(0x80000000u) == 0);
}

}  // namespace

int main(int argc, char** argv) {
  test_chunks();
  test_huge_sizes_need_64_bits();
  test_sample_grid<8>();
  test_sample_grid<16>();
  test_sample_grid<64>();
  test_design_effect();
  test_margins();
  test_brackets_and_narrowing();
  test_quota();
  test_half<BFloat16>(7, 127);
  test_half<Float16>(10, 15);
  test_rounding<BFloat16>([](uint32_t bits) { return decoded(bits, 7, 127); });
  test_rounding<Float16>([](uint32_t bits) { return decoded(bits, 10, 15); });
  test_float32();
  if (argc > 1 && std::strcmp(argv[1], "control") == 0) {
    const int64_t ties[] = {2, 2};
    int64_t pruned[2];
    spread_quota(3, ties, pruned, 2);
    CHECK(pruned[0] == 1 && pruned[1] == 2);  // the later chunk first: wrong
  }
  std::puts("ok");
}
