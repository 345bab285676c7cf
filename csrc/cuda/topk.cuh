// The order of the kernels of top-k.
#pragma once

#include "cuda/item_index.cuh"
#include "cuda/listed.cuh"
#include "cuda/rescore.cuh"
#include "cuda/scan_codes.cuh"
#include "cuda/topk_filters.cuh"

namespace recsys::cuda {
namespace detail {

// One batch of queries and all the memory that it needs.
class TopkBatch {
 public:
  struct Sizes {
    std::int64_t k;          // the keys that there can be
    std::int64_t survivors;  // room for those of a wave
    std::int64_t capacity;   // keys of a query
    std::int64_t part_capacity;
    bool compact;

    Sizes(std::int64_t k_reachable, bool use_codes, const TopkTuning& tuning)
        : k(k_reachable),
          survivors(use_codes ? std::max(tuning.survivors, 4 * k_reachable) : 0),
          capacity(k_reachable + std::max(survivors, k_reachable)),
          part_capacity(k_reachable + std::max<std::int64_t>(k_reachable, 4 * FloatScanShape::n_threads)),
          compact(use_codes) {}

    // Of one query that has a part of a range to itself.
    [[nodiscard]] std::int64_t bytes(const IndexView& index) const {
      return 4 * index.row_stride + 2 * index.code_stride + 4 * (survivors + 3) + 8 * (capacity + part_capacity) +
             static_cast<std::int64_t>(sizeof(Query)) + 12 * k;
    }
  };

  // `parts_room`: bytes for the keys of parts of the items.
  TopkBatch(const ItemIndex& index, const Sizes& sizes, const FilterView& filters, std::int64_t n_queries,
            std::int64_t parts_room, const TopkTuning& tuning, Stream stream)
      : index_(index),
        view_(index.view()),
        sizes_(sizes),
        filters_(filters),
        n_queries_(n_queries),
        parts_room_(parts_room),
        tuning_(tuning),
        stream_(stream),
        multiprocessors_(device_attribute(cudaDevAttrMultiProcessorCount)),
        factors_(n_queries * view_.row_stride, stream),
        codes_(sizes.compact ? n_queries * view_.code_stride : 0, stream),
        queries_(n_queries, stream),
        survivors_(n_queries * sizes.survivors, stream),
        counts_(sizes.compact ? n_queries : 0, stream),
        keys_(n_queries * sizes.capacity, stream) {}

  // `given` [n_queries, d] on the device.
  void prepare(const float* given, std::int64_t first_query) {
    DeviceBuffer<unsigned long long> bad(1, stream_);
    bad.set_bytes(0xFF, stream_);
    constexpr int n_threads = 64;
    launch("prepare_queries", prepare_queries, blocks(divide_up(n_queries_, n_threads)), n_threads, 0, stream_,
           PrepareArguments{given, n_queries_, view_, index_.metric() == Metric::cosine, sizes_.compact,
                            index_.largest_norm(), index_.largest_bias(), index_.largest_scale(),
                            index_.smallest_scale(), factors_.data(), codes_.data(), queries_.data(), bad.data()});
    const unsigned long long first_bad = download(bad, stream_)[0];
    if (first_bad == ~0ULL) return;
    const auto place = static_cast<std::int64_t>(first_bad);
    float value = 0;
    check(cudaMemcpyAsync(&value, given + place, sizeof(value), cudaMemcpyDeviceToHost, stream_.handle),
          "copying from the device");
    stream_.synchronize();
    throw_nonfinite("queries", first_query + place / index_.n_factors(), place % index_.n_factors(), value);
  }

  void answer_by_float32() { scan_floats(nullptr, n_queries_, index_.n_items()); }

  void answer_by_lists(const std::int64_t* indptr, const std::int32_t* items) {
    launch(
        "score_listed", score_listed, blocks(n_queries_), 128, rescore_bytes, stream_,
        ListedArguments{view_, filters_, index_.positions(), indptr, items, factors_.data(), queries_.data(),
                        static_cast<std::int32_t>(sizes_.k), static_cast<std::int32_t>(sizes_.capacity), keys_.data()});
  }

  void answer_by_codes() {
    counts_.set_bytes(0, stream_);
    const std::int64_t tile = ItemIndex::tile_items;
    const std::int64_t opening = std::min(index_.n_items(), round_up_to(std::max(tuning_.opening, 8 * sizes_.k), tile));
    scan_floats(nullptr, n_queries_, opening);
    std::int64_t wave = std::max<std::int64_t>(1, (tuning_.first_wave > 0 ? tuning_.first_wave : opening) / tile);
    for (std::int64_t first = divide_up(opening, tile); first < index_.n_tiles(); first += wave, wave *= 2) {
      scan_wave(first, std::min(index_.n_tiles(), first + wave));
      launch("rescore", rescore, blocks(n_queries_), 128, rescore_bytes, stream_,
             RescoreArguments{view_, filters_, factors_.data(), queries_.data(), survivors_.data(), counts_.data(),
                              static_cast<std::int32_t>(sizes_.survivors), static_cast<std::int32_t>(sizes_.k),
                              static_cast<std::int32_t>(sizes_.capacity), keys_.data()});
    }
    answer_the_left();
  }

  void write(std::int64_t k, std::int64_t* indices, float* scores) {
    constexpr std::int64_t most_shared = 4096;  // keys
    const std::int64_t shared_keys = std::min(most_shared, sizes_.k);
    launch("write_ranking", write_ranking, blocks(n_queries_), sizes_.k > 256 ? 256 : 64,
           shared_keys * static_cast<std::int64_t>(sizeof(Key)), stream_, queries_.data(), keys_.data(),
           static_cast<int>(sizes_.capacity), static_cast<int>(shared_keys), k, indices, scores);
  }

 private:
  static constexpr std::int64_t rescore_bytes = static_cast<std::int64_t>(sizeof(SelectionScratch)) + 16;

  // Scores items at positions [0, last) for the chosen queries (null: all) and keeps each query's best.
  void scan_floats(const std::int32_t* chosen, std::int64_t n_chosen, std::int64_t last) {
    using S = FloatScanShape;
    const std::int64_t n_panels = divide_up(n_chosen, S::panel);
    // As many parts as fill the device, with a few steps in each, if there is memory for them.
    const std::int64_t a_part = n_chosen * (8 * sizes_.part_capacity + 4);
    const std::int64_t most_parts =
        std::clamp<std::int64_t>(std::min(last / (8 * S::n_threads), parts_room_ / a_part), 1, 256);
    const std::int64_t wanted = std::clamp<std::int64_t>(4 * multiprocessors_ / n_panels, 1, most_parts);
    const std::int64_t part = round_up_to(divide_up(last, wanted), S::n_threads);
    const std::int64_t n_parts = divide_up(last, part);
    DeviceBuffer<Key> keys(n_chosen * n_parts * sizes_.part_capacity, stream_);
    DeviceBuffer<std::int32_t> counts(n_chosen * n_parts, stream_);
    const auto k = static_cast<std::int32_t>(sizes_.k);
    const auto part_capacity = static_cast<std::int32_t>(sizes_.part_capacity);
    launch("scan_float32", scan_float32, dim3(static_cast<unsigned>(n_panels), static_cast<unsigned>(n_parts)),
           S::n_threads, static_cast<std::int64_t>(sizeof(S::Shared)), stream_,
           FloatScanArguments{view_, filters_, factors_.data(), chosen, n_chosen, 0, last, part, k, part_capacity,
                              static_cast<std::int32_t>(n_parts), keys.data(), counts.data()});
    launch(
        "merge_parts", merge_parts, blocks(n_chosen), 128, static_cast<std::int64_t>(sizeof(SelectionScratch)), stream_,
        MergeArguments{view_, queries_.data(), chosen, keys.data(), counts.data(), static_cast<std::int32_t>(n_parts),
                       part_capacity, k, static_cast<std::int32_t>(sizes_.capacity), keys_.data()});
  }

  void scan_wave(std::int64_t first_tile, std::int64_t last_tile) {
    using S = ScanShape;
    const std::int64_t n_panels = divide_up(n_queries_, S::tile_queries);
    const std::int64_t n_tiles = last_tile - first_tile;
    // A few blocks a multiprocessor, and no more than a grid may have.
    const std::int64_t n_ranges = std::clamp<std::int64_t>(divide_up(8 * multiprocessors_, n_panels), 1, n_tiles);
    const std::int64_t range = std::max(divide_up(n_tiles, n_ranges), divide_up(n_tiles, 65535));
    launch("scan_codes", view_.bias == nullptr ? scan_codes<false> : scan_codes<true>,
           dim3(static_cast<unsigned>(n_panels), static_cast<unsigned>(divide_up(n_tiles, range))), S::n_threads,
           S::shared_bytes(view_.code_stride), stream_,
           ScanArguments{view_, filters_, codes_.data(), queries_.data(), n_queries_,
                         static_cast<std::int32_t>(first_tile), static_cast<std::int32_t>(last_tile),
                         static_cast<std::int32_t>(range), survivors_.data(), counts_.data(),
                         static_cast<std::int32_t>(sizes_.survivors)});
  }

  void answer_the_left() {
    const std::vector<Query> queries = download(queries_, stream_);
    std::vector<std::int32_t> left;
    for (std::size_t q = 0; q < queries.size(); ++q) {
      if (queries[q].left != 0) left.push_back(static_cast<std::int32_t>(q));
    }
    if (left.empty()) return;
    const DeviceBuffer<std::int32_t> chosen = cuda::upload(left.data(), std::ssize(left), stream_);
    scan_floats(chosen.data(), chosen.size(), index_.n_items());
    stream_.synchronize();  // `left` is read until then
  }

  const ItemIndex& index_;
  IndexView view_;
  Sizes sizes_;
  FilterView filters_;
  std::int64_t n_queries_;
  std::int64_t parts_room_;
  TopkTuning tuning_;
  Stream stream_;
  std::int64_t multiprocessors_;
  DeviceBuffer<float> factors_;
  DeviceBuffer<std::int8_t> codes_;
  DeviceBuffer<Query> queries_;
  DeviceBuffer<std::int32_t> survivors_;
  DeviceBuffer<std::int32_t> counts_;
  DeviceBuffer<Key> keys_;
};

inline void check_request(const ItemIndex& index, const TopkRequest& request, std::int64_t k) {
  if (k < 1) throw ConfigError("k must be at least 1, got " + std::to_string(k));
  if (request.queries.cols() != index.n_factors()) {
    throw ShapeError("queries must have one column a factor, " + std::to_string(index.n_factors()) + ", got " +
                     std::to_string(request.queries.cols()));
  }
  const auto check_rows = [&](const std::optional<CsrView>& rows, const std::string& name) {
    if (!rows) return;
    if (rows->rows() != request.queries.rows() || rows->cols != index.n_items()) {
      throw ShapeError(name + " must have shape (" + std::to_string(request.queries.rows()) + ", " +
                       std::to_string(index.n_items()) + "), got (" + std::to_string(rows->rows()) + ", " +
                       std::to_string(rows->cols) + ")");
    }
    check_structure(*rows, name);
  };
  check_rows(request.exclude, "exclude");
  check_rows(request.allow_each, "allow");
}

// Whether the scan of codes can be used at all, and, for automatic, is expected to be faster.
inline bool uses_codes(const ItemIndex& index, Method method, std::int64_t k, std::int64_t n_allowed,
                       const TopkTuning& tuning) {
  if (method == Method::float32 || index.n_items() == 0 || index.n_factors() > ItemIndex::max_factors) return false;
  const std::int64_t shared = ScanShape::shared_bytes(index.view().code_stride);
  if (shared > device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)) return false;
  if (method == Method::compact) return true;
  return index.n_items() >= tuning.smallest_index && index.n_factors() >= 8 && k <= index.n_items() / 64 &&
         n_allowed * 2 >= index.n_items();
}

}  // namespace detail

void topk(const ItemIndex& index, const TopkRequest& request, std::int64_t k, std::int64_t* indices, float* scores,
          Stream stream, const TopkTuning& tuning) {
  detail::check_request(index, request, k);
  const std::int64_t n_queries = request.queries.rows();
  const std::int64_t d = index.n_factors();
  const detail::SharedFilters filters = detail::upload_filters(index, request, stream);
  if (n_queries == 0) return;
  const std::int64_t k_reachable = std::max<std::int64_t>(1, std::min(k, index.n_items()));
  const detail::TopkBatch::Sizes sizes(
      k_reachable,
      !request.allow_each && detail::uses_codes(index, request.method, k_reachable, filters.n_allowed, tuning), tuning);

  const std::int64_t a_query = sizes.bytes(index.view()) + (request.queries_on_device ? 0 : 4 * d);
  const auto room = static_cast<std::int64_t>(tuning.memory_share * static_cast<double>(free_memory()));
  constexpr std::int64_t largest_batch = 1 << 16;
  std::int64_t n = 0;
  for (std::int64_t first = 0; first < n_queries; first += n) {
    std::int64_t bytes = 0;
    for (n = 0; n < std::min(largest_batch, n_queries - first); ++n) {
      const std::int64_t own = a_query + detail::BatchFilters::bytes(request, first + n);
      if (own > room) throw_too_little_memory("query " + std::to_string(first + n) + " and its filters", own, room);
      if (bytes + own > room) break;
      bytes += own;
    }
    const std::int64_t parts_room = room - bytes + n * (8 * sizes.part_capacity + 4);
    const detail::BatchFilters batch_filters(request, first, n, stream);
    DeviceBuffer<float> copied;
    const float* given = request.queries.row(first);
    if (!request.queries_on_device) {
      copied = cuda::upload(given, n * d, stream);
      given = copied.data();
    }
    detail::TopkBatch work(index, sizes, batch_filters.view(filters), n, parts_room, tuning, stream);
    work.prepare(given, first);
    if (request.allow_each) {
      work.answer_by_lists(batch_filters.allow_each.indptr.data(), batch_filters.allow_each.items.data());
    } else if (sizes.compact) {
      work.answer_by_codes();
    } else {
      work.answer_by_float32();
    }
    work.write(k, indices + first * k, scores + first * k);
  }
}

}  // namespace recsys::cuda
