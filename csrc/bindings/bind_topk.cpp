#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
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

Filters make_filters(const std::optional<CsrPattern>& exclude, const std::optional<py::array>& allow,
                     const std::optional<py::array>& deny) {
  Filters filters;
  if (exclude) filters.exclude = pattern_view(*exclude, "exclude");
  if (allow) filters.allow = vector_view<std::int64_t>(*allow, "allow");
  if (deny) filters.deny = vector_view<std::int64_t>(*deny, "deny");
  return filters;
}

// Allocates the outputs and runs `fill(ranking)` without the GIL.
template <typename Fill>
Arrays rank(std::int64_t n_queries, std::int64_t k, Fill&& fill) {
  if (k < 1) throw ConfigError("k must be at least 1, got " + std::to_string(k));
  auto indices = new_matrix<std::int64_t>(n_queries, k);
  auto scores = new_matrix<float>(n_queries, k);
  const RankingView ranking{mutable_view(indices), mutable_view(scores)};
  {
    const py::gil_scoped_release release;
    fill(ranking);
  }
  return {std::move(indices), std::move(scores)};
}

}  // namespace

void bind_topk(py::module_& module) {
  py::class_<ItemIndex>(module, "ItemIndex")
      .def(py::init(
               [](const py::array& item_factors, const std::optional<py::array>& item_bias, const std::string& metric) {
                 const auto factors = matrix_view<float>(item_factors, "item_factors");
                 const auto bias = item_bias ? vector_view<float>(*item_bias, "item_bias") : std::span<const float>{};
                 const Metric parsed = parse_metric(metric);
                 const py::gil_scoped_release release;
                 return ItemIndex(factors, bias, parsed);
               }),
           py::arg("item_factors"), py::arg("item_bias"), py::arg("metric"))
      .def_property_readonly("n_items", &ItemIndex::n_items)
      .def_property_readonly("n_factors", &ItemIndex::n_factors)
      .def(
          "topk",
          [](const ItemIndex& self, const py::array& queries, std::int64_t k, const std::optional<CsrPattern>& exclude,
             const std::optional<py::array>& allow, const std::optional<py::array>& deny, std::int64_t n_threads,
             const std::string& method) {
            const auto vectors = matrix_view<float>(queries, "queries");
            const Filters filters = make_filters(exclude, allow, deny);
            const Method parsed = parse_method(method);
            return rank(vectors.rows(), k,
                        [&](const RankingView& ranking) { topk(self, vectors, filters, n_threads, ranking, parsed); });
          },
          py::arg("queries"), py::arg("k"), py::arg("exclude"), py::arg("allow"), py::arg("deny"), py::arg("n_threads"),
          py::arg("method"));

  module.def(
      "item_item_topk",
      [](const CsrArrays& histories, const std::variant<CsrArrays, py::array>& weights, std::int64_t k,
         const std::optional<CsrPattern>& exclude, const std::optional<py::array>& allow,
         const std::optional<py::array>& deny, std::int64_t n_threads) {
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
