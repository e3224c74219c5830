"""Static plots beside report.md, as SVG: from panels to pictures; computes nothing."""
