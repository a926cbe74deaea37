// The border to Python.
#include <algorithm>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "binding.hpp"
#include "bounds.hpp"
#include "paths.hpp"
#include "search.hpp"
#include "selection.hpp"

using namespace qsearch;

namespace {

// The fields of Margins, in order.
Margins margins_of(const std::vector<double>& values) {
  require(values.size() == 7, "there are seven margins");
  return {values[0], values[1], values[2], values[3], values[4], values[5], values[6]};
}

// The arrays of segments with rotated codes, checked once and kept.
class CodedSegments {
 public:
  CodedSegments(std::vector<In<std::uint8_t, 4>> rotated, std::vector<In<float, 3>> bounds,
                std::vector<In<std::int8_t, 2>> int8, std::vector<In<float, 1>> scale,
                std::vector<In<float, 1>> residual, std::vector<In<float, 2>> vectors,
                std::vector<std::int64_t> first_rows, std::vector<std::size_t> turned,
                std::vector<In<float, 2>> rotations, const std::vector<std::vector<double>>& rotated_margins,
                const std::vector<double>& margins)
      : rotated_(std::move(rotated)), bounds_(std::move(bounds)), int8_(std::move(int8)),
        scale_(std::move(scale)), residual_(std::move(residual)), vectors_(std::move(vectors)),
        axes_(std::move(rotations)), margins_(margins_of(margins)) {
    const std::size_t count = vectors_.size();
    require(count && rotated_.size() == count && bounds_.size() == count && int8_.size() == count &&
                scale_.size() == count && residual_.size() == count && first_rows.size() == count &&
                turned.size() == count && rotated_margins.size() == axes_.size(),
            "segments must have all arrays");
    for (std::size_t i = 0; i < axes_.size(); ++i) {
      require(axes_[i].shape(1) == dimensions(), "a rotation has another shape");
      rotations_.push_back({axes_[i].data(), axes_[i].shape(0), margins_of(rotated_margins[i])});
    }
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t n = vectors_[i].shape(0), d = vectors_[i].shape(1);
      const std::size_t blocks = (n + kBlockRows - 1) / kBlockRows, head = rotated_[i].shape(1) * kGroup;
      require(n < (std::size_t{1} << 32), "a segment has at most 2**32 - 1 rows");
      require(d == dimensions(), "segments must have equal dimensions");
      require(turned[i] < axes_.size() && (rotations_[turned[i]].h + kGroup - 1) / kGroup * kGroup == head,
              "codes and rotation have another shape");
      require(rotated_[i].shape(0) == blocks && rotated_[i].shape(2) == kBlockRows &&
                  rotated_[i].shape(3) == kGroup,
              "rotated codes have another shape");
      require(bounds_[i].shape(0) == blocks && bounds_[i].shape(1) == 3 && bounds_[i].shape(2) == kBlockRows,
              "bounds have another shape");
      require(int8_[i].shape(0) == n && int8_[i].shape(1) == d, "int8 codes have another shape");
      require(scale_[i].shape(0) == n && residual_[i].shape(0) == n, "scale and residual must be (n,)");
      segments_.push_back({{n, d, head, rotated_[i].data(), bounds_[i].data(), int8_[i].data(),
                            scale_[i].data(), residual_[i].data(), vectors_[i].data(), first_rows[i], 0,
                            {nullptr, n}},
                           turned[i]});
    }
  }

  std::size_t dimensions() const { return vectors_[0].shape(1); }
  const std::vector<Rotation>& rotations() const { return rotations_; }
  const Margins& margins() const { return margins_; }

  // Those from `first` on, before `last`.
  std::vector<CodedSegment> under(const std::vector<Bits>& masks, std::size_t first, std::size_t last) const {
    require(masks.size() == segments_.size(), "there must be a mask for each segment");
    require(first <= last && last <= segments_.size(), "there are no such segments");
    std::vector<CodedSegment> some;
    for (std::size_t i = first; i < last; ++i) {
      some.push_back(segments_[i]);
      some.back().rows.mask = mask_of(masks[i], some.back().rows.n);
    }
    return some;
  }

 private:
  std::vector<In<std::uint8_t, 4>> rotated_;
  std::vector<In<float, 3>> bounds_;
  std::vector<In<std::int8_t, 2>> int8_;
  std::vector<In<float, 1>> scale_, residual_;
  std::vector<In<float, 2>> vectors_, axes_;
  std::vector<Rotation> rotations_;
  std::vector<CodedSegment> segments_;
  Margins margins_;
};

// Returns the number of the first segment that is damaged, or -1.
std::ptrdiff_t bind_search_segments(const std::string& path, const CodedSegments& segments,
                                    const std::vector<Bits>& masks, std::size_t first, std::size_t last,
                                    std::size_t before, In<float, 2> queries, Out<float, 2> scores,
                                    Out<std::int64_t, 2> positions, Out<std::int64_t, 2> looked,
                                    Out<std::int64_t, 1> spent, std::size_t threads) {
  const std::size_t q = queries.shape(0), k = scores.shape(1);
  require(queries.shape(1) == segments.dimensions(), "queries have another shape");
  require(scores.shape(0) == q && positions.shape(0) == q && positions.shape(1) == k && k >= 1,
          "the places for results have another shape");
  require(looked.shape(0) == 4 && looked.shape(1) == q && spent.shape(0) == 4,
          "the places for counts have another shape");
  std::vector<CodedSegment> some = segments.under(masks, first, last);
  std::int64_t* const counts = looked.data();
  const Looked each = {counts, counts + q, counts + 2 * q, counts + 3 * q};
  const Path& chosen = named(path);
  std::ptrdiff_t damaged = -1;
  run([&](Watch* watch) {
    damaged = search_segments(chosen, some, segments.rotations(), segments.margins(), queries.data(), q, k,
                              before, scores.data(), positions.data(), each, spent.data(), threads, watch);
  });
  return damaged < 0 ? damaged : damaged + static_cast<std::ptrdiff_t>(first);
}

void bind_hamming_nearest(const std::string& path, In<std::uint64_t, 3> blocks,
                          In<std::uint64_t, 2> queries, std::size_t n_rows, const Bits& mask,
                          Out<std::int64_t, 2> result, std::size_t threads) {
  const std::size_t words = blocks.shape(1), q = queries.shape(0), count = result.shape(1);
  require(n_rows < (std::size_t{1} << 32), "a segment has at most 2**32 - 1 rows");
  require(blocks.shape(0) == (n_rows + kHammingRows - 1) / kHammingRows &&
              blocks.shape(2) == kHammingRows,
          "blocks have another shape");
  require(queries.shape(1) == words, "queries must have as many words as rows");
  const Mask allowed = mask_of(mask, n_rows);
  require(result.shape(0) == q && count >= 1 && count <= allowed.allowed,
          "count must be 1 to the rows that are allowed");
  const Path& chosen = named(path);
  run([&](Watch* watch) {
    hamming_nearest(chosen, blocks.data(), n_rows, words, allowed, queries.data(), q, count,
                    result.data(), threads, watch);
  });
}

// The arrays of the segments of a cascade, checked once and kept.
class CascadeSegments {
 public:
  CascadeSegments(std::vector<In<std::uint64_t, 3>> binary, std::vector<In<std::int8_t, 2>> int8,
                  std::vector<In<float, 1>> scale, std::vector<In<float, 2>> vectors,
                  std::vector<std::int64_t> first_rows)
      : binary_(std::move(binary)), int8_(std::move(int8)), scale_(std::move(scale)),
        vectors_(std::move(vectors)) {
    const std::size_t count = binary_.size();
    require(count && int8_.size() == count && scale_.size() == count && vectors_.size() == count &&
                first_rows.size() == count,
            "segments must have all arrays");
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t n = vectors_[i].shape(0), d = vectors_[i].shape(1);
      require(n < (std::size_t{1} << 32), "a segment has at most 2**32 - 1 rows");
      require(d == dimensions() && binary_[i].shape(0) == (n + kHammingRows - 1) / kHammingRows &&
                  binary_[i].shape(1) == words() && binary_[i].shape(2) == kHammingRows,
              "blocks or rows have another shape");
      require(int8_[i].shape(0) == n && int8_[i].shape(1) == d && scale_[i].shape(0) == n,
              "int8 codes have another shape");
      rows_.push_back({n, binary_[i].data(), int8_[i].data(), scale_[i].data(), vectors_[i].data(),
                       first_rows[i], {nullptr, n}});
    }
  }

  std::size_t dimensions() const { return vectors_[0].shape(1); }
  std::size_t words() const { return binary_[0].shape(1); }

  std::vector<CascadeRows> under(const std::vector<Bits>& masks) const {
    require(masks.size() == rows_.size(), "there must be a mask for each segment");
    std::vector<CascadeRows> rows = rows_;
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].mask = mask_of(masks[i], rows[i].n);
    return rows;
  }

 private:
  std::vector<In<std::uint64_t, 3>> binary_;
  std::vector<In<std::int8_t, 2>> int8_;
  std::vector<In<float, 1>> scale_;
  std::vector<In<float, 2>> vectors_;
  std::vector<CascadeRows> rows_;
};

// Returns the position of a row that is not finite, or -1.
std::int64_t bind_cascade_top_k(const std::string& path, const CascadeSegments& segments,
                        const std::vector<Bits>& masks, In<float, 2> queries,
                        In<std::uint64_t, 2> words, In<std::int8_t, 2> codes, In<float, 1> blurs,
                        std::size_t candidates, std::size_t kept, std::vector<std::size_t> depths,
                        Out<float, 2> scores, Out<std::int64_t, 2> positions,
                        Out<double, 2> leads, Out<std::int64_t, 1> scored, Out<std::int64_t, 1> spent,
                        std::size_t threads) {
  const std::size_t q = queries.shape(0), d = segments.dimensions(), k = scores.shape(1);
  require(queries.shape(1) == d && codes.shape(0) == q && codes.shape(1) == d &&
              words.shape(0) == q && words.shape(1) == segments.words() && blurs.shape(0) == q,
          "queries or their codes have another shape");
  require(scores.shape(0) == q && positions.shape(0) == q && positions.shape(1) == k && k >= 1 &&
              leads.shape(0) == q && leads.shape(1) == depths.size() && scored.shape(0) == q &&
              spent.shape(0) == 3,
          "the places for results have another shape");
  require(candidates >= 1 && kept >= k, "there must be candidates, and k of them kept");
  for (const std::size_t depth : depths) require(depth >= 1, "a lead looks at one row at least");
  const std::vector<CascadeRows> rows = segments.under(masks);
  std::size_t width = 0;
  for (const CascadeRows& one : rows) width += std::min(candidates, one.mask.allowed);
  require(width >= 1 && width < (std::size_t{1} << 32), "no row is allowed, or too many candidates");
  const Path& chosen = named(path);
  const CascadeQueries given = {q, d, segments.words(), queries.data(), words.data(), codes.data(), blurs.data()};
  const CascadeAsked asked = {k, candidates, kept, std::move(depths)};
  std::int64_t damaged = -1;
  run([&](Watch* watch) {
    damaged = cascade_top_k(chosen, rows, given, asked, scores.data(), positions.data(),
                            leads.data(), scored.data(), spent.data(), threads, watch);
  });
  return damaged;
}

void bind_int8_gather(const std::string& path, In<std::int8_t, 2> codes, In<float, 1> scale,
                      In<std::int8_t, 2> queries, In<std::int64_t, 2> indices,
                      Out<float, 2> result, std::size_t threads) {
  const std::size_t n = codes.shape(0), d = codes.shape(1), q = queries.shape(0);
  require(scale.shape(0) == n && queries.shape(1) == d, "scale or queries have another shape");
  require(indices.shape(0) == q && result.shape(0) == q && result.shape(1) == indices.shape(1),
          "indices or result have another shape");
  check_indices(indices, n);
  const Path& chosen = named(path);
  run([&](Watch* watch) {
    int8_gather(chosen, codes.data(), scale.data(), d, queries.data(), q, indices.data(),
                indices.shape(1), result.data(), threads, watch);
  });
}

std::size_t bind_first_unusable(const std::string& path, In<float, 2> rows) {
  const Path& chosen = named(path);
  nb::gil_scoped_release release;
  return first_unusable(chosen, rows.data(), rows.shape(0), rows.shape(1));
}

void bind_normalize(const std::string& path, In<float, 2> rows, Out<float, 2> result) {
  require(result.shape(0) == rows.shape(0) && result.shape(1) == rows.shape(1), "the result has another shape");
  const Path& chosen = named(path);
  nb::gil_scoped_release release;
  normalize(chosen, rows.data(), rows.shape(0), rows.shape(1), result.data());
}

void bind_code_rows(In<float, 2> rows, double most, const std::vector<double>& margins,
                    Out<std::int8_t, 2> codes, Out<double, 2> intervals) {
  require(codes.shape(0) == rows.shape(0) && codes.shape(1) == rows.shape(1) &&
              intervals.shape(0) == rows.shape(0) && intervals.shape(1) == 4,
          "codes or intervals have another shape");
  const Margins of_codes = margins_of(margins);
  nb::gil_scoped_release release;
  code_rows(rows.data(), rows.shape(0), rows.shape(1), most, of_codes, codes.data(),
            reinterpret_cast<Interval*>(intervals.data()));
}

void bind_code_projections(const std::string& path, In<float, 2> rows, In<float, 2> axes, double most,
                           const std::vector<double>& margins, Out<std::int8_t, 2> codes,
                           Out<double, 2> intervals, std::size_t threads) {
  require(rows.shape(1) == axes.shape(1), "rows and axes must have equal dimensions");
  require(codes.shape(0) == rows.shape(0) && codes.shape(1) >= axes.shape(0) &&
              intervals.shape(0) == rows.shape(0) && intervals.shape(1) == 4,
          "codes or intervals have another shape");
  const Path& chosen = named(path);
  const Rotation rotation = {axes.data(), axes.shape(0), margins_of(margins)};
  nb::gil_scoped_release release;
  code_projections(chosen, rows.data(), rows.shape(0), rows.shape(1), rotation, codes.shape(1), most,
                   codes.data(), reinterpret_cast<Interval*>(intervals.data()), threads);
}

void bind_cosine_gather(const std::string& path, In<float, 2> rows, In<float, 2> queries,
                        In<std::int64_t, 2> indices, Out<float, 2> result, std::size_t threads) {
  const std::size_t n = rows.shape(0), d = rows.shape(1), q = queries.shape(0);
  require(queries.shape(1) == d, "rows and queries must have equal dimensions");
  require(indices.shape(0) == q && result.shape(0) == q && result.shape(1) == indices.shape(1),
          "indices or result have another shape");
  check_indices(indices, n);
  const Path& chosen = named(path);
  run([&](Watch* watch) {
    cosine_gather(chosen, rows.data(), d, queries.data(), q, indices.data(), indices.shape(1),
                  result.data(), threads, watch);
  });
}

}  // namespace

NB_MODULE(_native, m) {
  nb::set_leak_warnings(false);  // an index that somebody holds until the process ends is no leak
  m.doc() = "The kernels in C++; qsearch.kernels wraps and documents them.";
  m.def("path_names", &path_names);
  // Of the environment, which Python writes to as well; its own way to one that is not set is an exception.
  m.def("setting", [](const char* name) -> std::optional<nb::bytes> {
    const char* value = std::getenv(name);
    return value ? std::optional<nb::bytes>(nb::bytes(value)) : std::nullopt;
  });
  m.def("most_code", [](const std::string& path, std::size_t queries) {
    return most_code(named(path), queries);
  });
  // For tests: how far a guess goes, and what rounds in the search.
  m.def("safe_rank", &safe_rank);
  m.def("round_up", &round_up);
  m.def("round_down", &round_down);
  m.def("scan_threshold", [](float score, double factor, double slack) {
    return scan_threshold(score, Interval{factor, 0.0, 0.0, slack});
  });
  m.def("scan_factors", [](double factor, double residual_factor, double rest_factor) {
    const ScanQuery query = scan_query(Interval{factor, residual_factor, rest_factor, 0.0}, 0);
    return std::pair(query.residual_factor, query.rest_factor);
  });
  m.def("sieve_threshold", [](float score, double factor, double slack) {
    return sieve_threshold(score, Interval{factor, 0.0, 0.0, slack});
  });
  m.def("sieve_factors", [](double factor, double residual_factor) {
    const SieveQuery query = sieve_query(Interval{factor, residual_factor, 0.0, 0.0}, nullptr, 0);
    return std::pair(query.residual_factor, query.least);
  });
  m.def("int8_bounds", [](double factor, double residual_factor, double slack, float scale,
                          float residual, std::int32_t dot) {
    const Estimate found =
        estimate(Interval{factor, residual_factor, 0.0, slack}, scale, residual, dot);
    return std::pair(lower_bound(found, 1.0), upper_bound(found));
  });
  m.def("out", &out);
  nb::class_<CodedSegments>(m, "CodedSegments")
      .def(nb::init<std::vector<In<std::uint8_t, 4>>, std::vector<In<float, 3>>,
                    std::vector<In<std::int8_t, 2>>, std::vector<In<float, 1>>, std::vector<In<float, 1>>,
                    std::vector<In<float, 2>>, std::vector<std::int64_t>, std::vector<std::size_t>,
                    std::vector<In<float, 2>>, const std::vector<std::vector<double>>&,
                    const std::vector<double>&>());
  m.def("search_segments", &bind_search_segments, nb::arg("path"), nb::arg("segments"), nb::arg("masks"),
        nb::arg("first"), nb::arg("last"), nb::arg("before"), ARRAY("queries"), ARRAY("scores"),
        ARRAY("positions"), ARRAY("looked"), ARRAY("spent"), nb::arg("threads"));
  nb::class_<CascadeSegments>(m, "CascadeSegments")
      .def(nb::init<std::vector<In<std::uint64_t, 3>>, std::vector<In<std::int8_t, 2>>,
                    std::vector<In<float, 1>>, std::vector<In<float, 2>>,
                    std::vector<std::int64_t>>());
  m.def("cascade_top_k", &bind_cascade_top_k, nb::arg("path"), nb::arg("segments"),
        nb::arg("masks"), ARRAY("queries"), ARRAY("words"), ARRAY("codes"), ARRAY("blurs"), nb::arg("candidates"),
        nb::arg("kept"), nb::arg("depths"), ARRAY("scores"), ARRAY("positions"), ARRAY("leads"), ARRAY("scored"),
        ARRAY("spent"), nb::arg("threads"));
  m.def("hamming_nearest", &bind_hamming_nearest, nb::arg("path"), ARRAY("blocks"),
        ARRAY("queries"), nb::arg("n_rows"), ARRAY("mask").none(), ARRAY("result"),
        nb::arg("threads"));
  m.def("int8_gather", &bind_int8_gather, nb::arg("path"), ARRAY("codes"), ARRAY("scale"),
        ARRAY("queries"), ARRAY("indices"), ARRAY("result"), nb::arg("threads"));
  m.def("first_unusable", &bind_first_unusable, nb::arg("path"), ARRAY("rows"));
  m.def("normalize", &bind_normalize, nb::arg("path"), ARRAY("rows"), ARRAY("result"));
  m.def("code_rows", &bind_code_rows, ARRAY("rows"), nb::arg("most"), nb::arg("margins"), ARRAY("codes"),
        ARRAY("intervals"));
  m.def("code_projections", &bind_code_projections, nb::arg("path"), ARRAY("rows"), ARRAY("axes"),
        nb::arg("most"), nb::arg("margins"), ARRAY("codes"), ARRAY("intervals"), nb::arg("threads"));
  m.def("cosine_gather", &bind_cosine_gather, nb::arg("path"), ARRAY("rows"), ARRAY("queries"),
        ARRAY("indices"), ARRAY("result"), nb::arg("threads"));
  add_graph(m);
}
