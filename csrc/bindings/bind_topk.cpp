#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "bindings/choices.hpp"
#include "bindings/interruptible.hpp"
#include "recsys/item_index_arrays.hpp"
#include "recsys/topk.hpp"

namespace recsys::bindings {
namespace {

// Indices and scores.
using Arrays = std::tuple<py::array_t<std::int64_t>, py::array_t<float>>;

// One list for all queries, or a pattern with a row for each.
using Allow = std::optional<std::variant<CsrPattern, py::array>>;

Filters make_filters(const std::optional<CsrPattern>& exclude, const Allow& allow,
                     const std::optional<py::array>& deny) {
  Filters filters;
  if (exclude) filters.exclude = pattern_view(*exclude, "exclude");
  if (allow) {
    if (const auto* rows = std::get_if<CsrPattern>(&*allow)) {
      filters.allow_each = pattern_view(*rows, "allow");
    } else {
      filters.allow = vector_view<std::int64_t>(std::get<py::array>(*allow), "allow");
    }
  }
  if (deny) filters.deny = vector_view<std::int64_t>(*deny, "deny");
  return filters;
}

// Allocates the outputs and runs `fill(ranking)` without the GIL, interruptible.
template <typename Fill>
Arrays rank(std::int64_t n_queries, std::int64_t k, Fill&& fill) {
  if (k < 1) throw ConfigError("k must be at least 1, got " + std::to_string(k));
  auto indices = new_matrix<std::int64_t>(n_queries, k);
  auto scores = new_matrix<float>(n_queries, k);
  const RankingView ranking{mutable_view(indices), mutable_view(scores)};
  {
    const Interruptible interruptible;
    fill(ranking);
  }
  return {std::move(indices), std::move(scores)};
}

// An index that changes: the one as it stands, to be replaced whole.
//
// Whoever reads takes hold of the index of that moment and keeps it, and so never waits for a change, nor a change for
// readers.  Changes follow each other.
class LiveIndex {
 public:
  explicit LiveIndex(ItemIndex index) : current_(std::make_shared<const ItemIndex>(std::move(index))) {}

  [[nodiscard]] std::shared_ptr<const ItemIndex> current() const {
    const std::lock_guard lock(mutex_);
    return current_;
  }

  // Replaces the index by change(index), without the GIL and interruptible.
  template <typename Change>
  void change(Change&& change) {
    const Interruptible interruptible;
    const std::lock_guard changing(changes_);
    auto changed = std::make_shared<const ItemIndex>(change(*current()));
    const std::lock_guard lock(mutex_);
    current_.swap(changed);
  }

 private:
  mutable std::mutex mutex_;  // of current_
  std::mutex changes_;
  std::shared_ptr<const ItemIndex> current_;
};

std::optional<std::span<const float>> bias_view(const std::optional<py::array>& item_bias) {
  if (!item_bias) return std::nullopt;
  return vector_view<float>(*item_bias, "item_bias");
}

// Named arrays, each in parts of one dimension that follow one another.
using NamedParts = std::map<std::string, std::vector<py::array>>;
using NamedArrays = std::map<std::string, py::array>;

NamedParts give_arrays(std::shared_ptr<const ItemIndex> index, bool compact) {
  struct Kept {
    std::shared_ptr<const ItemIndex> index;
    ItemIndexArrays arrays;
  };
  auto kept = std::make_unique<Kept>();
  kept->index = std::move(index);
  {
    const Interruptible interruptible;
    kept->arrays = kept->index->arrays(compact);
  }
  const ItemIndexArrays& arrays = kept->arrays;
  const py::capsule owner(kept.get(), [](void* held) { delete static_cast<Kept*>(held); });
  kept.release();

  NamedParts named;
  const auto add = [&]<typename T>(const char* name, std::span<const T> values) {
    py::array_t<T> array(static_cast<py::ssize_t>(values.size()), values.data(), owner);
    array.attr("setflags")(py::arg("write") = false);
    named[name].push_back(std::move(array));
  };
  const auto add_numbers = [&](const char* name, const std::vector<double>& values) {
    add(name, std::span<const double>(values));
  };
  named["factors"];
  for (const auto& part : arrays.factors) add("factors", part);
  if (arrays.bias) {
    named["bias"];
    for (const auto& part : *arrays.bias) add("bias", part);
  }
  if (!arrays.present.empty()) add("present", arrays.present);
  if (arrays.compact) {
    add("compact.codes", arrays.compact->codes);
    if (!arrays.compact->coarse_codes.empty()) {
      add("compact.coarse_codes", arrays.compact->coarse_codes);
      add_numbers("compact.coarse_bounds", arrays.compact->coarse_bounds);
    }
    add("compact.rows", arrays.compact->rows);
    if (arrays.bias) add("compact.bias", arrays.compact->bias);
    add("compact.items", arrays.compact->items);
    add("compact.positions", arrays.compact->positions);
    add_numbers("compact.bounds", arrays.compact->bounds);
    add_numbers("compact.norm_from", arrays.compact->norm_from);
    add_numbers("compact.bias_from", arrays.compact->bias_from);
    add_numbers("compact.limits", arrays.compact->limits);
  }
  return named;
}

// Keeps a Python object until the core, which may be on any thread and without the GIL, lets go of it.
std::shared_ptr<const void> keep(py::object object) {
  return {new py::object(std::move(object)), [](py::object* held) {
            const py::gil_scoped_acquire acquire;
            delete held;
          }};
}

std::unique_ptr<LiveIndex> take_arrays(std::int64_t n_items, std::int64_t n_factors, const std::string& metric,
                                       const NamedArrays& named) {
  const auto get = [&]<typename T>(const char* name, std::span<const T>& into) {
    if (const auto found = named.find(name); found != named.end()) into = vector_view<T>(found->second, name);
  };
  const auto copy = [&](const char* name, std::vector<double>& into) {
    std::span<const double> values;
    get(name, values);
    into.assign(values.begin(), values.end());
  };
  ItemIndexArrays arrays;
  arrays.n_items = n_items;
  arrays.n_factors = n_factors;
  arrays.metric = parse_metric(metric);
  get("factors", arrays.factors.emplace_back());
  if (named.contains("bias")) get("bias", arrays.bias.emplace().emplace_back());
  get("present", arrays.present);
  if (named.contains("compact.codes")) {
    CompactArrays& compact = arrays.compact.emplace();
    get("compact.codes", compact.codes);
    get("compact.coarse_codes", compact.coarse_codes);
    get("compact.rows", compact.rows);
    get("compact.bias", compact.bias);
    get("compact.items", compact.items);
    get("compact.positions", compact.positions);
    copy("compact.bounds", compact.bounds);
    copy("compact.coarse_bounds", compact.coarse_bounds);
    copy("compact.norm_from", compact.norm_from);
    copy("compact.bias_from", compact.bias_from);
    copy("compact.limits", compact.limits);
  }
  arrays.owner = keep(py::cast(named));
  const Interruptible interruptible;
  return std::make_unique<LiveIndex>(ItemIndex::from_arrays(arrays));
}

void bind_item_index(py::module_& module) {
  py::class_<LiveIndex>(module, "ItemIndex")
      .def(py::init(
               [](const py::array& item_factors, const std::optional<py::array>& item_bias, const std::string& metric) {
                 const auto factors = matrix_view<float>(item_factors, "item_factors");
                 const auto bias = bias_view(item_bias);
                 const Metric parsed = parse_metric(metric);
                 const Interruptible interruptible;
                 return std::make_unique<LiveIndex>(ItemIndex(factors, bias, parsed));
               }),
           py::arg("item_factors"), py::arg("item_bias"), py::arg("metric"))
      .def_property_readonly("n_items", [](const LiveIndex& self) { return self.current()->n_items(); })
      .def_property_readonly("n_removed", [](const LiveIndex& self) { return self.current()->n_removed(); })
      .def_property_readonly("n_factors", [](const LiveIndex& self) { return self.current()->n_factors(); })
      .def_property_readonly(
          "metric", [](const LiveIndex& self) { return self.current()->metric() == Metric::dot ? "dot" : "cosine"; })
      .def(
          "topk",
          [](const LiveIndex& self, const py::array& queries, std::int64_t k, const std::optional<CsrPattern>& exclude,
             const Allow& allow, const std::optional<py::array>& deny, std::int64_t n_threads,
             const std::string& method) {
            const auto vectors = matrix_view<float>(queries, "queries");
            const Filters filters = make_filters(exclude, allow, deny);
            const Method parsed = parse_method(method);
            return rank(vectors.rows(), k, [&](const RankingView& ranking) {
              topk(*self.current(), vectors, filters, n_threads, ranking, parsed);
            });
          },
          py::arg("queries"), py::arg("k"), py::arg("exclude"), py::arg("allow"), py::arg("deny"), py::arg("n_threads"),
          py::arg("method"))
      .def(
          "update",
          [](LiveIndex& self, const py::array& rows, const py::array& item_factors,
             const std::optional<py::array>& item_bias) {
            const auto at = vector_view<std::int64_t>(rows, "rows");
            const auto factors = matrix_view<float>(item_factors, "item_factors");
            const auto bias = bias_view(item_bias);
            self.change([&](const ItemIndex& index) { return index.updated(at, factors, bias); });
          },
          py::arg("rows"), py::arg("item_factors"), py::arg("item_bias"))
      .def(
          "append",
          [](LiveIndex& self, const py::array& item_factors, const std::optional<py::array>& item_bias) {
            const auto factors = matrix_view<float>(item_factors, "item_factors");
            const auto bias = bias_view(item_bias);
            std::int64_t first = 0;
            self.change([&](const ItemIndex& index) {
              first = index.n_items();
              return index.appended(factors, bias);
            });
            return first;
          },
          py::arg("item_factors"), py::arg("item_bias"))
      .def(
          "remove",
          [](LiveIndex& self, const py::array& rows) {
            const auto at = vector_view<std::int64_t>(rows, "rows");
            self.change([&](const ItemIndex& index) { return index.removed(at); });
          },
          py::arg("rows"))
      .def(
          "arrays", [](const LiveIndex& self, bool compact) { return give_arrays(self.current(), compact); },
          py::arg("compact"))
      .def_static("from_arrays", &take_arrays, py::arg("n_items"), py::arg("n_factors"), py::arg("metric"),
                  py::arg("arrays"))
      .def("without_removed", [](const LiveIndex& self) {
        std::vector<std::int64_t> kept;
        auto fresh = [&] {
          const Interruptible interruptible;
          const auto index = self.current();
          kept = index->present_items();
          return std::make_unique<LiveIndex>(index->without_removed());
        }();
        return std::pair(std::move(fresh), take_vector(std::move(kept)));
      });
}

}  // namespace

void bind_topk(py::module_& module) {
  bind_item_index(module);
  module.def(
      "item_item_topk",
      [](const CsrArrays& histories, const std::variant<CsrArrays, py::array>& weights, std::int64_t k,
         const std::optional<CsrPattern>& exclude, const Allow& allow, const std::optional<py::array>& deny,
         std::int64_t n_threads) {
        const CsrView rows = csr_view(histories, "histories");
        const Filters filters = make_filters(exclude, allow, deny);
        if (const auto* sparse = std::get_if<CsrArrays>(&weights)) {
          const CsrView view = csr_view(*sparse, "weights");
          return rank(rows.rows(), k,
                      [&](const RankingView& ranking) { item_item_topk(rows, view, filters, n_threads, ranking); });
        }
        const auto view = matrix_view<float>(std::get<py::array>(weights), "weights");
        return rank(rows.rows(), k,
                    [&](const RankingView& ranking) { item_item_topk(rows, view, filters, n_threads, ranking); });
      },
      py::arg("histories"), py::arg("weights"), py::arg("k"), py::arg("exclude"), py::arg("allow"), py::arg("deny"),
      py::arg("n_threads"));
}

}  // namespace recsys::bindings
