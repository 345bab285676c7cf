// How a half-sweep of ALS is cut up to fit the memory that a device has free.
//
// The rows to solve are taken in batches, and the factors that they are solved from in tiles; a batch sees all tiles.
// Where everything fits, there is one of each, and the interactions stay on the device from one iteration to the next.
#pragma once

#include "cuda/conjugate_gradients.cuh"
#include "cuda/factor_rows.cuh"
#include "cuda/refined_rows.cuh"
#include "cuda/subspace.cuh"
#include "recsys/als.hpp"

namespace recsys::cuda {

struct HalfPlan {
  std::int64_t tile;           // rows of the factors given
  std::vector<Range> batches;  // of the rows solved
};

struct AlsPlan {
  HalfPlan users;  // solved from the items
  HalfPlan items;
  bool keeps_interactions;
};

// How rows are solved, as far as it takes memory.
struct AlsWay {
  AlsSolver solver;
  std::int64_t block_size;  // of subspace
  bool mixed;               // of cholesky
};

namespace detail {

class HalfSizes {
 public:
  HalfSizes(const CsrView& solved, const FactorRows& out, const FactorRows& given, const AlsWay& way, std::int64_t room,
            const std::string& name)
      : solved_(solved), out_(out), given_(given), way_(way), name_(name) {
    tile = given.n;
    if (tile_bytes() > room / 2) {
      const std::int64_t a_row = given_row(given.on_device ? 0 : 2);
      tile = room / 2 / a_row;
      if (tile < 1) throw_too_little_memory("a row of factors", 2 * a_row, room);
      if (way.solver == AlsSolver::subspace) {
        throw DeviceError("solver \"subspace\" needs all factors on the device, " +
                          std::to_string(given.n * given_row(given.on_device ? 0 : 1)) +
                          " bytes for a half-sweep, and " + std::to_string(room / 2) +
                          " can be used; take solver \"cg\", which works tile by tile");
      }
    }
  }

  [[nodiscard]] std::int64_t tile_bytes() const {
    return tile == 0 ? 0 : tile * given_row(FactorTiles::n_places(given_, tile));
  }
  [[nodiscard]] std::int64_t n_tiles() const { return divide_up(given_.n, std::max<std::int64_t>(tile, 1)); }
  [[nodiscard]] std::int64_t kept_bytes() const {
    return RowBlock::a_row * solved_.rows() + RowBlock::an_entry * solved_.nnz();
  }
  [[nodiscard]] HalfPlan plan(std::int64_t room, bool keeps) const {
    std::int64_t a_row = 16 + (out_.on_device ? 0 : 4 * out_.f);  // ridge, loss
    std::int64_t an_entry = 0;
    if (!keeps) {
      a_row += RowBlock::a_row * n_tiles();
      an_entry += RowBlock::an_entry;
    }
    if (way_.solver == AlsSolver::cholesky && n_tiles() > 1) {
      a_row += 4 * SystemShape::matrix_floats(static_cast<int>(out_.f));
      if (way_.mixed) a_row += refined_row_bytes(out_.f);
    } else if (way_.solver == AlsSolver::cg) {
      a_row += 4 * out_.f + cg_row_bytes(out_.f);
    } else if (way_.solver == AlsSolver::subspace) {
      a_row += 4 * out_.f + subspace_row_bytes(out_.f, way_.block_size);
      an_entry += subspace_entry_bytes;
    }
    return {tile, cut_rows(solved_, a_row, an_entry, room - tile_bytes(), name_)};
  }

  std::int64_t tile;

 private:
  // So many copies of a row given, and its whitened copy.
  [[nodiscard]] std::int64_t given_row(std::int64_t n_copies) const {
    return 4 * given_.f * (n_copies + (way_.solver == AlsSolver::cholesky ? 0 : 1));
  }

  CsrView solved_;
  FactorRows out_;
  FactorRows given_;
  AlsWay way_;
  std::string name_;
};

}  // namespace detail

// Bytes that both half-sweeps need whatever is cut: Gram matrices with their partial sums, and the whitening.
[[nodiscard]] inline std::int64_t als_fixed_bytes(std::int64_t n, std::int64_t f) {
  return GramChunks(n, f).bytes(f) + 2 * 8 * f * f + 4 * f * f + DeviceWhitening::bytes(f) + 1024;
}

inline AlsPlan plan_als(const CsrView& interactions, const CsrView& transposed, const FactorRows& users,
                        const FactorRows& items, const AlsWay& way, std::int64_t room) {
  const std::int64_t fixed = als_fixed_bytes(std::max(users.n, items.n), users.f);
  if (fixed > room) throw_too_little_memory("the Gram matrices of ALS", fixed, room);
  room -= fixed;
  const detail::HalfSizes of_users(interactions, users, items, way, room, "user");
  const detail::HalfSizes of_items(transposed, items, users, way, room, "item");
  const std::int64_t kept = of_users.kept_bytes() + of_items.kept_bytes();
  const bool keeps = of_users.n_tiles() <= 1 && of_items.n_tiles() <= 1 &&
                     kept <= (room - std::max(of_users.tile_bytes(), of_items.tile_bytes())) / 2;
  if (keeps) room -= kept;
  return {of_users.plan(room, keeps), of_items.plan(room, keeps), keeps};
}

}  // namespace recsys::cuda
