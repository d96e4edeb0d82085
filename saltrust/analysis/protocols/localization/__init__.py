"""Protocol S (Saporta et al.): do maps localize as experts do, and what explains where not?"""
