#include <pybind11/stl.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "bindings/interruptible.hpp"
#include "recsys/topk.hpp"

namespace recsys::bindings {
namespace {

// Indices and scores.
using Arrays = std::tuple<py::array_t<std::int64_t>, py::array_t<float>>;

Metric parse_metric(const std::string& metric) {
  if (metric == "dot") return Metric::dot;
  if (metric == "cosine") return Metric::cosine;
  throw ConfigError("metric must be \"dot\" or \"cosine\", got \"" + metric + "\"");
}

Method parse_method(const std::string& method) {
  if (method == "auto") return Method::automatic;
  if (method == "float32") return Method::float32;
  if (method == "compact") return Method::compact;
  throw ConfigError("method must be \"auto\", \"float32\" or \"compact\", got \"" + method + "\"");
}

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
